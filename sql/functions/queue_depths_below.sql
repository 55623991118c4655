-- queue_depths where no queue may hold more than p_most, whatever its own max_depth says: also of queues that have no row, as
-- long as a task waits in them. Those are found by skipping from one queue to the next in the index tasks_claim.
CREATE OR REPLACE FUNCTION taskflow.queue_depths_below(p_most integer, p_slack integer DEFAULT 50000)
RETURNS TABLE (queue text, max_depth integer, depth integer)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
#variable_conflict use_variable
DECLARE
    v_bound constant bigint := pg_relation_size('taskflow.tasks_live') / 100 + p_slack;
    -- Read once: each look goes through all claims.
    v_running_in constant jsonb := (
        SELECT jsonb_object_agg(g.queue, g.count)
        FROM (SELECT r.queue, sum(r.count) AS count FROM taskflow.running_counts() r GROUP BY 1) g);
    v_running bigint;
BEGIN
    queue := '';
    LOOP
        SELECT t.queue INTO queue FROM taskflow.tasks_live t
        WHERE t.queue > queue AND t.key_state IS DISTINCT FROM 'blocked' ORDER BY t.queue LIMIT 1;
        EXIT WHEN NOT FOUND;
        max_depth := least(p_most, (SELECT q.max_depth FROM taskflow.queues q WHERE q.name = queue));
        CONTINUE WHEN max_depth > v_bound;
        v_running := coalesce((v_running_in ->> queue)::bigint, 0);
        SELECT least(max_depth, greatest(0, count(*) - v_running)) INTO depth
        FROM (SELECT FROM taskflow.tasks_live t
              WHERE t.queue = queue AND t.key_state IS DISTINCT FROM 'blocked' LIMIT max_depth + v_running) AS few;
        RETURN NEXT;
    END LOOP;
    -- Empty ones, of which a full one may become in a moment.
    RETURN QUERY
    SELECT q.name::text, least(p_most, q.max_depth), 0 FROM taskflow.queues q
    WHERE least(p_most, q.max_depth) <= v_bound AND NOT EXISTS (
        SELECT FROM taskflow.tasks_live t WHERE t.queue = q.name AND t.key_state IS DISTINCT FROM 'blocked');
END $$;
