-- The schedules that should fire, and for how many seconds the next time of each has been over.
SELECT s.name, s.type::text AS type, s.queue::text AS queue, s.cron, s."interval", s.timezone, s.created_at, s.starts_at,
       s.ends_at, extract(epoch FROM clock_timestamp() - s.next_run_at)::float8 AS late_seconds
FROM taskflow.schedules s
WHERE s.enabled AND (s.max_runs IS NULL OR s.run_count < s.max_runs) AND (s.ends_at IS NULL OR s.ends_at >= now())
ORDER BY s.next_run_at, s.id LIMIT 10000
