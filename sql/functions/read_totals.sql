-- What has happened to tasks since ever, by queue and type, up to some seconds ago: the totals, and the minutes that are
-- not in them yet. Clients choose the names: the queues and types known longest, so many, have rows of their own, and
-- 'other' has the sum of the rest.
CREATE OR REPLACE FUNCTION taskflow.read_totals(p_queues integer, p_types integer)
RETURNS TABLE (queue text, type text, created bigint, completed bigint, failed bigint, retried bigint,
               dead_lettered bigint, rescued bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    WITH recent AS (
        SELECT s.queue, s.type,
               sum(s.count) FILTER (WHERE s.outcome = 'succeeded') AS completed,
               sum(s.count) FILTER (WHERE s.outcome IN ('failed', 'timed_out')) AS failed,
               sum(s.retried) AS retried, sum(s.dead_lettered) AS dead_lettered,
               sum(s.count) FILTER (WHERE s.outcome = 'lost') AS rescued
        FROM taskflow.task_stats s
        WHERE s.minute >= (SELECT c.minute FROM taskflow.totals_counted c)
        GROUP BY 1, 2
    ), every AS (
        SELECT coalesce(t.queue, r.queue) AS queue, coalesce(t.type, r.type) AS type,
               coalesce(t.first_seen, 'infinity') AS since, coalesce(t.created, 0) AS created,
               coalesce(t.completed, 0) + coalesce(r.completed, 0) AS completed,
               coalesce(t.failed, 0) + coalesce(r.failed, 0) AS failed,
               coalesce(t.retried, 0) + coalesce(r.retried, 0) AS retried,
               coalesce(t.dead_lettered, 0) + coalesce(r.dead_lettered, 0) AS dead_lettered,
               coalesce(t.rescued, 0) + coalesce(r.rescued, 0) AS rescued
        FROM taskflow.task_totals t FULL JOIN recent r ON r.queue = t.queue AND r.type = t.type
    ), queues AS (
        SELECT e.queue FROM every e GROUP BY e.queue ORDER BY min(e.since), e.queue LIMIT p_queues
    ), types AS (
        SELECT e.type FROM every e GROUP BY e.type ORDER BY min(e.since), e.type LIMIT p_types
    )
    SELECT coalesce(q.queue, 'other'), coalesce(y.type, 'other'), sum(e.created)::bigint, sum(e.completed)::bigint,
           sum(e.failed)::bigint, sum(e.retried)::bigint, sum(e.dead_lettered)::bigint, sum(e.rescued)::bigint
    FROM every e LEFT JOIN queues q ON q.queue = e.queue LEFT JOIN types y ON y.type = e.type
    GROUP BY 1, 2
$$;
