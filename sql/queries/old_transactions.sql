-- The oldest transactions of this database that keep vacuum from removing what is dead, or are idle, longest first.
SELECT a.pid, a.usename AS login, a.application_name AS application, host(a.client_addr) AS address,
       a.state LIKE 'idle in transaction%%' AS idle,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS idle_seconds
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL OR a.state LIKE 'idle in transaction%%')
  AND a.xact_start IS NOT NULL
ORDER BY a.xact_start LIMIT 20
