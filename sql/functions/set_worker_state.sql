-- What an operator wants of a worker: 'running', 'paused' or 'draining'. Returns the state, and no row if there is no such
-- worker or it drains already: that ends it, and cannot be taken back. The notification is a hint to look at once, which
-- the other workers need not follow; who misses it learns the state with its next heartbeat.
-- A worker that was told by a signal to end says so with this as well.
CREATE OR REPLACE FUNCTION taskflow.set_worker_state(p_worker bigint, p_state text) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY UPDATE taskflow.workers w SET state = p_state
        WHERE w.id = p_worker AND (w.state <> 'draining' OR p_state = 'draining')
        RETURNING w.state;
    IF FOUND THEN
        PERFORM pg_notify('taskflow_control', json_build_object('worker', p_worker)::text);
    END IF;
END $$;
