-- A worker process says what it is; the id is new each time, and fences everything that the process will write.
CREATE OR REPLACE FUNCTION taskflow.register_worker(
    p_hostname text, p_pid integer, p_queues text[], p_types text[], p_concurrency integer, p_version text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO taskflow.workers (hostname, pid, queues, types, concurrency, version)
    VALUES (p_hostname, p_pid, p_queues, p_types, p_concurrency, p_version) RETURNING id
$$;
