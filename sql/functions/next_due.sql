-- The time of the first waiting task of each queue that has one (due already, or later), for the types given; a worker
-- about to sleep sleeps no longer than that. p_queues NULL: every queue that has waiting tasks, found by skipping from
-- one queue to the next in the index tasks_claim.
CREATE OR REPLACE FUNCTION taskflow.next_due(p_queues text[], p_types text[])
RETURNS TABLE (queue text, run_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off
AS $$
DECLARE
    v_queue text := '';
    v_first timestamptz;
    v_next timestamptz;
    v_index integer := 0;
BEGIN
    LOOP
        IF p_queues IS NULL THEN
            SELECT c.queue INTO v_queue FROM taskflow.tasks_live c
            WHERE c.queue > v_queue AND c.key_state IS DISTINCT FROM 'blocked' ORDER BY c.queue LIMIT 1;
        ELSE
            v_index := v_index + 1;
            v_queue := p_queues[v_index];
        END IF;
        EXIT WHEN v_queue IS NULL;
        v_first := NULL;
        FOR v_priority IN 0 .. 3 LOOP
            SELECT c.run_at INTO v_next FROM taskflow.tasks_live c
            WHERE c.queue = v_queue AND c.priority = v_priority AND c.state IN ('pending', 'retrying')
              AND c.key_state IS DISTINCT FROM 'blocked' AND c.type = ANY (p_types)
            ORDER BY c.run_at, c.id LIMIT 1;
            v_first := least(v_first, v_next);
        END LOOP;
        IF v_first IS NOT NULL THEN
            queue := v_queue;
            run_at := v_first;
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;
