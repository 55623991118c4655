-- A task's own, or its type's, or its queue's; in seconds. About the casts see shown_state.
CREATE OR REPLACE FUNCTION taskflow.effective_timeout(p_timeout double precision, p_type text, p_queue text)
RETURNS double precision
LANGUAGE sql STABLE AS $$
    SELECT coalesce(p_timeout,
        (SELECT y.timeout FROM taskflow.task_types y WHERE y.type::text = p_type),
        (SELECT q.timeout FROM taskflow.queues q WHERE q.name::text = p_queue), 300)
$$;
