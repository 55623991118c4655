-- How many tasks wait (pending, scheduled, retrying) in the queues that could be full, counted up to their max_depth: what
-- servers read once a second, so that no request counts. A task takes more than a hundred bytes, so the size of the table
-- bounds what it can hold: while it is small nothing is counted. p_slack: what may come in before the next reading.
CREATE OR REPLACE FUNCTION taskflow.queue_depths(p_slack integer DEFAULT 50000)
RETURNS TABLE (queue text, max_depth integer, depth integer)
LANGUAGE plpgsql STABLE
-- With LIMIT a sequential scan looks cheap, and would read the whole table for a queue of which it holds little.
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_bound constant bigint := pg_relation_size('taskflow.tasks_live') / 100 + p_slack;
BEGIN
    RETURN QUERY
    SELECT q.name::text, q.max_depth, waiting.depth
    FROM taskflow.queues q CROSS JOIN LATERAL (
        SELECT count(*)::integer AS depth
        FROM (SELECT FROM taskflow.tasks_live t
              WHERE t.queue = q.name AND t.state IN ('pending', 'retrying') LIMIT q.max_depth) AS few) AS waiting
    WHERE q.max_depth <= v_bound;
END $$;
