-- What decides whether the live partition is vacuumed by itself.
SELECT current_setting('autovacuum') = 'on' AS autovacuum, current_setting('track_counts') = 'on' AS track_counts,
       coalesce(c.reloptions, '{}') AS options, coalesce(t.reloptions, '{}') AS toast_options
FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.oid = 'taskflow.tasks_live'::regclass
