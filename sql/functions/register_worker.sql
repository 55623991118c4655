-- A worker process says what it is; the id is new each time, and fences everything that the process will write. p_before
-- is the id that it had until now: what an operator wants of a worker does not end with its connection.
CREATE OR REPLACE FUNCTION taskflow.register_worker(
    p_hostname text, p_pid integer, p_queues text[], p_types text[], p_concurrency integer, p_version text,
    p_before bigint DEFAULT NULL)
RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO taskflow.workers (hostname, pid, queues, types, concurrency, version, state)
    VALUES (p_hostname, p_pid, p_queues, p_types, p_concurrency, p_version,
            coalesce((SELECT w.state FROM taskflow.workers w WHERE w.id = p_before), 'running'))
    RETURNING id
$$;
