-- How many live tasks there are, by queue, priority and the state that people see, and since when the first of them has
-- been due; p_queues NULL: in all queues. Exact, at the moment of the call.
--
-- Each part can go by an index that holds all it asks for: what waits by the claim's, and the few whose state that does not
-- tell by one of their own. So once the table has been vacuumed no payload is read; history never is. One core does it:
-- this is nothing to take the others from the tasks for.
CREATE OR REPLACE FUNCTION taskflow.live_counts(p_queues text[] DEFAULT NULL)
RETURNS TABLE (queue text, priority smallint, state text, count bigint, due_since timestamptz)
LANGUAGE plpgsql STABLE
SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
BEGIN
    RETURN QUERY
    WITH waiting AS (
        SELECT t.queue::text AS queue, t.priority, t.run_at <= statement_timestamp() AS due, count(*) AS n, min(t.run_at) AS first
        FROM taskflow.tasks_live t
        WHERE t.state IN ('pending', 'retrying') AND (p_queues IS NULL OR t.queue = ANY (p_queues))
        GROUP BY 1, 2, 3)
    , held_back AS (
        SELECT t.queue::text AS queue, t.priority, t.state, t.run_at <= statement_timestamp() AS due, count(*) AS n
        FROM taskflow.tasks_live t
        WHERE t.state IN ('retrying', 'blocked') AND (p_queues IS NULL OR t.queue = ANY (p_queues))
        GROUP BY 1, 2, 3, 4)
    , running AS (
        SELECT t.queue::text AS queue, t.priority, count(*) AS n
        FROM taskflow.tasks_live t
        WHERE t.worker_id IS NOT NULL AND t.state = 'running' AND (p_queues IS NULL OR t.queue = ANY (p_queues))
        GROUP BY 1, 2)
    , shown AS (
        SELECT w.queue, w.priority, CASE WHEN w.due THEN 'pending' ELSE 'scheduled' END AS state, w.n,
               CASE WHEN w.due THEN w.first END AS first
        FROM waiting w
        UNION ALL
        SELECT h.queue, h.priority, s.state, s.n, NULL
        FROM held_back h
        -- What retries later was counted as scheduled above.
        CROSS JOIN LATERAL (VALUES (h.state::text, h.n),
                                   ('scheduled', CASE WHEN h.state = 'retrying' THEN -h.n ELSE 0 END)) AS s (state, n)
        WHERE h.state = 'blocked' OR NOT h.due
        UNION ALL
        SELECT r.queue, r.priority, 'running', r.n, NULL FROM running r)
    SELECT s.queue, s.priority, s.state, sum(s.n)::bigint, min(s.first)
    FROM shown s
    GROUP BY 1, 2, 3
    HAVING sum(s.n) > 0;
END $$;
