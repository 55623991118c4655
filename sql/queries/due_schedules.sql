-- The schedules whose time comes within some seconds, and those whose next time nobody has worked out yet.
SELECT clock_timestamp() AS now, s.id, s.name, s.version, s.run_count, s.next_run_at, s.missed, s.overlap = 'skip' AS alone,
       s.jitter, s.cron, s."interval", s.timezone, s.created_at, s.starts_at, s.ends_at
FROM (
    (SELECT * FROM taskflow.schedules
     WHERE enabled AND next_run_at < now() + %(ahead)s * interval '1 second' ORDER BY next_run_at LIMIT %(limit)s)
    UNION ALL
    (SELECT * FROM taskflow.schedules
     WHERE enabled AND next_run_at IS NULL AND (max_runs IS NULL OR run_count < max_runs)
       AND (ends_at IS NULL OR ends_at >= now()) LIMIT %(limit)s)) s
