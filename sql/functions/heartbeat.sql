-- A worker is alive. In: which attempts have begun since the last heartbeat. Out: whether the worker is still known (if
-- not, it was given up and must register anew), what an operator wants of it, and which of its tasks to cancel. And its
-- claims of which nothing runs any more are removed.
CREATE OR REPLACE FUNCTION taskflow.heartbeat(
    p_worker bigint, p_active integer, p_started_ids bigint[], p_started_attempts integer[], p_waited double precision[],
    OUT known boolean, OUT state text, OUT cancelled bigint[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET lock_timeout = '250ms'  -- see locked_tasks
AS $$
BEGIN
    UPDATE taskflow.workers w
    SET heartbeat = w.heartbeat + 1, last_heartbeat = clock_timestamp(), active_tasks = p_active
    WHERE w.id = p_worker
    RETURNING w.state INTO state;
    known := FOUND;
    IF cardinality(p_started_ids) > 0 THEN
        PERFORM taskflow.mark_started(p_worker, p_started_ids, p_started_attempts, p_waited);
    END IF;
    cancelled := ARRAY(SELECT t.id FROM taskflow.tasks_live t
                       WHERE t.cancel_requested AND t.worker_id = p_worker AND t.state = 'running');
    PERFORM taskflow.forget_claims(p_worker);
END $$;
