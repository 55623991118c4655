-- Each table of tasks and executions, its days taken together: rows and dead rows as the statistics estimate them, bytes with
-- indexes and TOAST, the last time that it was vacuumed, and whether a day still waits to be removed.
SELECT t.family,
       count(t.day)::integer AS days,
       min(t.day) AS first_day,
       max(t.day) AS last_day,
       sum(t.rows)::bigint AS rows,
       sum(t.dead_rows)::bigint AS dead_rows,
       sum(t.bytes)::bigint AS bytes,
       max(t.vacuumed_at) AS vacuumed_at,
       bool_or(t.leaving) AS leaving
FROM (
    SELECT coalesce(substring(c.relname FROM '^(.*)_[0-9]{8}$'), c.relname) AS family,
           to_date(substring(c.relname FROM '_([0-9]{8})$'), 'YYYYMMDD') AS day,
           coalesce(s.n_live_tup, 0) AS rows, coalesce(s.n_dead_tup, 0) AS dead_rows,
           pg_total_relation_size(c.oid) AS bytes,
           greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
           c.relname ~ '_[0-9]{8}$' AND (i.inhrelid IS NULL OR i.inhdetachpending) AS leaving
    FROM pg_class c
    LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
    WHERE c.relnamespace = 'taskflow'::regnamespace AND c.relkind = 'r'
      AND c.relname ~ '^(tasks_live|tasks_dead|executions_kept|(tasks_completed|tasks_ended|executions)_[0-9]{8})$') t
GROUP BY t.family
ORDER BY array_position(ARRAY['tasks_live', 'tasks_dead', 'tasks_completed', 'tasks_ended', 'executions', 'executions_kept'],
                        t.family)
