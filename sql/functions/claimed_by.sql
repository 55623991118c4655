-- What a worker has claimed and not ended, for a process that lost its connection and cannot know whether its last
-- claim was committed.
CREATE OR REPLACE FUNCTION taskflow.claimed_by(p_worker bigint) RETURNS TABLE (id bigint, attempt integer)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT t.id, t.attempt FROM taskflow.tasks_live t
    WHERE t.id = ANY (ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c WHERE c.worker_id = p_worker))
      AND t.worker_id = p_worker AND t.state = 'running'
$$;
