-- Locks waiting tasks, and waits for those that somebody else has locked, but no longer than a moment. Returns those that
-- still wait.
CREATE OR REPLACE FUNCTION taskflow.wait_for_tasks(p_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off
SET lock_timeout = '50ms'
AS $$
BEGIN
    RETURN ARRAY(
        SELECT t.id FROM taskflow.tasks_live t WHERE t.id = ANY (p_ids) AND t.worker_id IS NULL ORDER BY t.id FOR UPDATE);
END $$;
