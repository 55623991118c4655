-- Looks at concurrency keys that hold somebody up, and lets go what may run: for a key_limit that was raised, and now and then
-- for what no ending lets go, such as the next of a task that was deleted. Of the queue p_only, NULL: of all; after the key
-- p_after_key of the queue p_after_queue, in order, at most p_limit, NULL: any number. Returns the last one: go on after
-- that until it is NULL.
CREATE OR REPLACE FUNCTION taskflow.release_waiting_keys(
    p_only text DEFAULT NULL, p_after_queue text DEFAULT '', p_after_key text DEFAULT '', p_limit integer DEFAULT NULL,
    OUT last_queue text, OUT last_key text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    v_queue text := greatest(p_only, p_after_queue);
    v_key text := p_after_key;
    v_queues text[] := '{}';
    v_keys text[] := '{}';
BEGIN
    LOOP
        SELECT t.queue, t.concurrency_key INTO v_queue, v_key FROM taskflow.tasks_live t
        WHERE (t.queue::text, t.concurrency_key::text) > (v_queue, v_key)
          AND t.key_state = 'blocked'
        ORDER BY t.queue::text, t.concurrency_key::text LIMIT 1;
        EXIT WHEN NOT FOUND OR v_queue <> p_only;
        v_queues := v_queues || v_queue;
        v_keys := v_keys || v_key;
        IF cardinality(v_keys) >= p_limit THEN
            last_queue := v_queue;
            last_key := v_key;
            EXIT;
        END IF;
    END LOOP;
    PERFORM taskflow.release_keys(v_queues, v_keys, false);
END $$;
