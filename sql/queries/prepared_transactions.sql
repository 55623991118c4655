-- The oldest prepared transactions of this database: no session has them, and no restart ends them.
SELECT p.gid, p.owner, extract(epoch FROM clock_timestamp() - p.prepared)::float8 AS seconds
FROM pg_prepared_xacts p WHERE p.database = current_database() ORDER BY p.prepared LIMIT 5
