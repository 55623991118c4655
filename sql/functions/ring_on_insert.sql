-- What an INSERT of tasks sets off, once a statement: a full queue refuses it, and else who sleeps is woken.
--
-- With the rights of the owner, so that a producer's role needs none for it.
CREATE OR REPLACE FUNCTION taskflow.ring_on_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_queues constant text[] := ARRAY(SELECT DISTINCT inserted.queue::text FROM inserted);
BEGIN
    IF EXISTS (SELECT FROM taskflow.queues q WHERE q.max_depth <> 1000000 AND q.name = ANY (v_queues)) THEN
        -- Fire times of schedules are let in: one that is refused would be lost.
        PERFORM taskflow.refuse_full(i.queue, i.tasks)
        FROM (SELECT inserted.queue::text AS queue, count(*)::integer AS tasks FROM inserted
              WHERE inserted.schedule_id IS NULL GROUP BY 1) i;
    END IF;
    PERFORM taskflow.ring(v_queues);
    RETURN NULL;
END $$;
