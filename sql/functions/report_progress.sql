-- How far running attempts are; what is no longer this worker's is left alone.
-- p_ids must be in ascending order, see complete_tasks.
CREATE OR REPLACE FUNCTION taskflow.report_progress(
    p_worker bigint, p_ids bigint[], p_attempts integer[], p_percents integer[], p_messages text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET lock_timeout = '250ms'  -- see locked_tasks
AS $$
    UPDATE taskflow.tasks_live t
    SET progress = p_percents[width_bucket(t.id, p_ids)], progress_message = p_messages[width_bucket(t.id, p_ids)],
        updated_at = now(), version = t.version + 1
    WHERE t.id = ANY (p_ids) AND t.state = 'running' AND t.worker_id = p_worker
      AND p_ids[width_bucket(t.id, p_ids)] = t.id AND t.attempt = p_attempts[width_bucket(t.id, p_ids)]
$$;
