-- Gives a row, with the defaults, to every queue that has tasks and none: a task inserted with SQL may name any queue, and
-- operators should find it. The queues are found by skipping from one to the next in the index tasks_claim.
CREATE OR REPLACE FUNCTION taskflow.adopt_queues() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
DECLARE
    v_queue text := '';
    v_adopted integer := 0;
BEGIN
    LOOP
        SELECT c.queue INTO v_queue FROM taskflow.tasks_live c
        WHERE c.queue > v_queue AND c.key_state IS DISTINCT FROM 'blocked' ORDER BY c.queue LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF NOT EXISTS (SELECT FROM taskflow.queues q WHERE q.name = v_queue) THEN
            INSERT INTO taskflow.queues (name) VALUES (v_queue) ON CONFLICT DO NOTHING;
            v_adopted := v_adopted + 1;
        END IF;
    END LOOP;
    RETURN v_adopted;
END $$;
