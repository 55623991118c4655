-- The types that wait in each queue, with the time since when the first is due: of each queue and priority by the tasks that
-- are due longest, for what nobody takes gathers there. From one queue to the next in the index tasks_claim.
WITH RECURSIVE waiting AS (
    (SELECT t.queue::text AS queue FROM taskflow.tasks_live t
     WHERE t.key_state IS DISTINCT FROM 'blocked' ORDER BY t.queue LIMIT 1)
    UNION ALL
    SELECT (SELECT t.queue::text FROM taskflow.tasks_live t
            WHERE t.queue > w.queue AND t.key_state IS DISTINCT FROM 'blocked' ORDER BY t.queue LIMIT 1)
    FROM waiting w WHERE w.queue IS NOT NULL)
SELECT w.queue, first.type, extract(epoch FROM clock_timestamp() - min(first.run_at))::float8 AS seconds
FROM (SELECT queue FROM waiting WHERE queue IS NOT NULL LIMIT 1000) w
CROSS JOIN generate_series(0, 3) AS level
CROSS JOIN LATERAL (
    SELECT t.type::text AS type, t.run_at FROM taskflow.tasks_live t
    WHERE t.queue = w.queue AND t.priority = level AND t.state IN ('pending', 'retrying')
      AND t.key_state IS DISTINCT FROM 'blocked' AND t.run_at <= statement_timestamp()
    ORDER BY t.run_at, t.id LIMIT %(sample)s) AS first
GROUP BY 1, 2 ORDER BY 1, 2
