-- A page of the schedules whose time comes within some seconds, in the order of their times; on the first page also those
-- whose next time nobody has worked out yet. A schedule that has come to its end is none of these.
SELECT clock_timestamp() AS now, s.id, s.name, s.version, s.run_count, s.next_run_at, s.missed, s.overlap = 'skip' AS alone,
       s.jitter, s.cron, s."interval", s.timezone, s.created_at, s.starts_at, s.ends_at
FROM (
    (SELECT * FROM taskflow.schedules
     WHERE enabled AND next_run_at IS NULL AND %(id)s = 0 AND (max_runs IS NULL OR run_count < max_runs)
       AND (ends_at IS NULL OR ends_at >= now()) LIMIT %(limit)s)
    UNION ALL
    (SELECT * FROM taskflow.schedules
     WHERE enabled AND next_run_at < now() + %(ahead)s * interval '1 second'
       AND (next_run_at, id) > (coalesce(%(time)s::timestamptz, '-infinity'), %(id)s::bigint)
     ORDER BY next_run_at, id LIMIT %(limit)s)) s
