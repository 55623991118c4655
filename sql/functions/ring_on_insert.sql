-- What an INSERT of tasks sets off, once a statement: a full queue refuses it, and else who sleeps is woken.
--
-- Names are looked up as in ring and shown_state, whatever the caller's search_path is.
--
-- Where no queue has a small max_depth, the index of those that have one is a page without entries, and to see that costs a
-- tenth of what a query does.
CREATE OR REPLACE FUNCTION taskflow.ring_on_insert() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF pg_catalog.pg_relation_size('taskflow.queues_max_depth'::regclass) > 8192 THEN
        -- Fire times of schedules are let in: one that is refused would be lost.
        PERFORM taskflow.refuse_full(i.queue)
        FROM (SELECT DISTINCT inserted.queue::text AS queue FROM inserted
              WHERE inserted.schedule_id IS NULL AND inserted.state::text IN ('pending', 'retrying')) i;
    END IF;
    PERFORM taskflow.ring(ARRAY(SELECT DISTINCT inserted.queue::text FROM inserted));
    RETURN NULL;
END $$;
