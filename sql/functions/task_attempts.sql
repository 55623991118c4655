-- The attempts of one task, the one under way included, in order; a function for its generic plan, see find_task.
CREATE OR REPLACE FUNCTION taskflow.task_attempts(p_id bigint) RETURNS SETOF taskflow.task_executions
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    RETURN QUERY SELECT * FROM taskflow.task_executions e WHERE e.task_id = p_id ORDER BY e.attempt, e.finished_at;
END $$;
