-- Records that attempts have begun, so that losing their worker is charged to them. Told with every heartbeat; for a
-- task with a loss before its handler runs, so that what it did to its worker is known for certain.
-- Returns the ids that are (still) this worker's: no other may be started.
-- p_ids must be in ascending order, see complete_tasks.
CREATE OR REPLACE FUNCTION taskflow.mark_started(
    p_worker bigint, p_ids bigint[], p_attempts integer[], p_waited double precision[]) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET lock_timeout = '250ms'  -- see locked_tasks
AS $$
    UPDATE taskflow.tasks_live t
    SET started_at = t.claimed_at + p_waited[width_bucket(t.id, p_ids)] * interval '1 second',
        version = t.version + 1
    WHERE t.id = ANY (p_ids) AND t.state = 'running' AND t.worker_id = p_worker
      AND p_ids[width_bucket(t.id, p_ids)] = t.id AND t.attempt = p_attempts[width_bucket(t.id, p_ids)]
    RETURNING t.id
$$;
