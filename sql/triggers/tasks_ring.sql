-- Once a statement, not a row: a COPY of 100,000 rows looks at the bell once a queue.
CREATE OR REPLACE TRIGGER tasks_ring AFTER INSERT ON taskflow.tasks
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow.ring_on_insert();
