-- Looks at every concurrency key that holds somebody up, in a queue or, p_queue NULL, in all, and lets go what may run: for a
-- key_limit that was raised, and now and then for what no ending lets go, such as the next of a task that was deleted.
-- Returns the queues in which something of these keys waits though it may run.
CREATE OR REPLACE FUNCTION taskflow.release_waiting_keys(p_queue text DEFAULT NULL) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    v_queue text := coalesce(p_queue, '');
    v_key text := '';
    v_queues text[] := '{}';
    v_keys text[] := '{}';
BEGIN
    LOOP
        SELECT t.queue, t.concurrency_key INTO v_queue, v_key FROM taskflow.tasks_live t
        WHERE (t.queue::text, t.concurrency_key::text) > (v_queue, v_key) AND (p_queue IS NULL OR t.queue = p_queue)
          AND t.concurrency_key IS NOT NULL AND t.state = 'blocked'
        ORDER BY t.queue::text, t.concurrency_key::text LIMIT 1;
        EXIT WHEN NOT FOUND;
        v_queues := v_queues || v_queue;
        v_keys := v_keys || v_key;
    END LOOP;
    RETURN taskflow.release_keys(v_queues, v_keys, false);
END $$;
REVOKE ALL ON FUNCTION taskflow.release_waiting_keys(text) FROM PUBLIC;
