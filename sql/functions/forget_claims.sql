-- Removes the claims of a worker of which nothing runs any more.
CREATE OR REPLACE FUNCTION taskflow.forget_claims(p_worker bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    DELETE FROM taskflow.claims c WHERE c.worker_id = p_worker AND NOT EXISTS (
        SELECT FROM taskflow.tasks_live t
        WHERE t.id = ANY (c.task_ids) AND t.worker_id = p_worker AND t.state = 'running')
$$;
