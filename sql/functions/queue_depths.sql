-- How many tasks wait (pending, scheduled, retrying) in the queues that could be full, counted up to their max_depth: what
-- servers read once a second, so that no request counts. A task takes more than a hundred bytes, so the size of the table
-- bounds what it can hold: while it is small nothing is counted. p_slack: what may come in before the next reading.
-- Counted are the entries of the index of claims, which has what runs as well, without those.
CREATE OR REPLACE FUNCTION taskflow.queue_depths(p_slack integer DEFAULT 50000)
RETURNS TABLE (queue text, max_depth integer, depth integer)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- With LIMIT a sequential scan looks cheap, and would read the whole table for a queue of which it holds little.
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_bound constant bigint := pg_relation_size('taskflow.tasks_live') / 100 + p_slack;
BEGIN
    RETURN QUERY
    WITH small AS MATERIALIZED (
        SELECT q.name::text AS name, q.max_depth FROM taskflow.queues q WHERE q.max_depth <= v_bound)
    , running AS MATERIALIZED (
        SELECT r.queue, sum(r.count) AS count
        FROM taskflow.running_counts() r WHERE EXISTS (SELECT FROM small) GROUP BY 1)
    SELECT s.name, s.max_depth, greatest(0, least(s.max_depth, entries.count - coalesce(r.count, 0)))::integer
    FROM small s LEFT JOIN running r ON r.queue = s.name
    CROSS JOIN LATERAL (
        SELECT count(*) AS count
        FROM (SELECT FROM taskflow.tasks_live t
              WHERE t.queue = s.name AND t.key_state IS DISTINCT FROM 'blocked'
              LIMIT s.max_depth + coalesce(r.count, 0)) AS few) AS entries;
END $$;
