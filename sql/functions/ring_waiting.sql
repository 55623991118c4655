-- Tasks of queues with a limit have ended: wakes who sleeps, if something waits in these queues that they held back. The
-- bells come first (see ring): mostly nobody sleeps, and to look for what waits passes over everything that runs.
CREATE OR REPLACE FUNCTION taskflow.ring_waiting(p_queues text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
DECLARE
    v_anybody boolean := NOT pg_try_advisory_xact_lock_shared(1413567307, -1);
    v_queues text[] := ARRAY(
        SELECT q.name FROM unnest(p_queues) q (name)
        WHERE v_anybody OR NOT pg_try_advisory_xact_lock_shared(1413567307, hashtext(q.name) & 1023));
BEGIN
    IF v_queues <> '{}' THEN
        PERFORM taskflow.ring(ARRAY(
            SELECT q.name FROM unnest(v_queues) q (name)
            WHERE EXISTS (
                SELECT FROM generate_series(0, 3) p (priority)
                CROSS JOIN LATERAL (
                    SELECT FROM taskflow.tasks_live c
                    WHERE c.queue = q.name AND c.priority = p.priority AND c.run_at <= now()
                      AND c.state IN ('pending', 'retrying') AND c.key_state IS DISTINCT FROM 'blocked'
                    ORDER BY c.run_at, c.id LIMIT 1) w)));
    END IF;
END $$;
