-- A task's own, or its type's, or its queue's. About the casts see shown_state.
CREATE OR REPLACE FUNCTION taskflow.effective_max_attempts(p_max_attempts integer, p_type text, p_queue text) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(p_max_attempts,
        (SELECT y.max_attempts FROM taskflow.task_types y WHERE y.type::text = p_type),
        (SELECT q.max_retries + 1 FROM taskflow.queues q WHERE q.name::text = p_queue), 5)
$$;
