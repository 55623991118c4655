-- Every worker with what it serves (queues NULL: all), and for how many seconds it has been silent.
SELECT w.id, w.hostname, w.pid, w.queues, w.types, w.state,
       extract(epoch FROM clock_timestamp() - w.last_heartbeat)::float8 AS silent_seconds
FROM taskflow.workers w ORDER BY w.id
