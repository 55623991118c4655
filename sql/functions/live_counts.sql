-- How many live tasks there are, by queue, priority and the state that people see, and since when the first of them has
-- been due; p_queues NULL: in all queues. Exact, at the moment of the call.
--
-- What waits or runs is counted in the index of claims alone, so once the table has been vacuumed no payload is read; what of
-- it runs, and what of it retries later, is read by itself, and so is what is blocked. One core does it: this is nothing to
-- take the others from the tasks for.
CREATE OR REPLACE FUNCTION taskflow.live_counts(p_queues text[] DEFAULT NULL)
RETURNS TABLE (queue text, priority smallint, state text, count bigint, due_since timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
BEGIN
    RETURN QUERY
    WITH entries AS (
        SELECT t.queue::text AS queue, t.priority, count(*) AS n,
               count(*) FILTER (WHERE t.run_at > statement_timestamp()) AS ahead
        FROM taskflow.tasks_live t
        WHERE t.key_state IS DISTINCT FROM 'blocked' AND (p_queues IS NULL OR t.queue = ANY (p_queues))
        GROUP BY 1, 2)
    , running AS MATERIALIZED (
        SELECT r.queue, r.priority, r.count AS n, r.ahead FROM taskflow.running_counts(p_queues) r)
    , retrying AS (
        SELECT t.queue::text AS queue, t.priority, count(*) AS n
        FROM taskflow.tasks_live t
        WHERE t.failures > 0 AND t.state = 'retrying' AND t.run_at > statement_timestamp()
          AND (p_queues IS NULL OR t.queue = ANY (p_queues))
        GROUP BY 1, 2)
    , blocked AS (
        SELECT t.queue::text AS queue, t.priority, count(*) AS n
        FROM taskflow.tasks_live t
        WHERE t.key_state = 'blocked' AND (p_queues IS NULL OR t.queue = ANY (p_queues))
        GROUP BY 1, 2)
    , shown AS (
        SELECT e.queue, e.priority, s.state, s.n
        FROM entries e CROSS JOIN LATERAL (VALUES ('pending', e.n - e.ahead), ('scheduled', e.ahead)) AS s (state, n)
        UNION ALL
        SELECT r.queue, r.priority, s.state, s.n
        FROM running r
        CROSS JOIN LATERAL (VALUES ('running', r.n), ('pending', r.ahead - r.n), ('scheduled', -r.ahead)) AS s (state, n)
        UNION ALL
        SELECT r.queue, r.priority, s.state, s.n
        FROM retrying r CROSS JOIN LATERAL (VALUES ('retrying', r.n), ('scheduled', -r.n)) AS s (state, n)
        UNION ALL
        SELECT b.queue, b.priority, 'blocked', b.n FROM blocked b)
    , counted AS (
        SELECT s.queue, s.priority, s.state, sum(s.n)::bigint AS n FROM shown s GROUP BY 1, 2, 3 HAVING sum(s.n) > 0)
    SELECT c.queue, c.priority, c.state, c.n,
           CASE WHEN c.state = 'pending' THEN (
               SELECT t.run_at FROM taskflow.tasks_live t
               WHERE t.queue = c.queue AND t.priority = c.priority AND t.state IN ('pending', 'retrying')
                 AND t.key_state IS DISTINCT FROM 'blocked' AND t.run_at <= statement_timestamp()
               ORDER BY t.run_at, t.id LIMIT 1) END
    FROM counted c;
END $$;
