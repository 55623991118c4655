-- What has become of a task; no row if there is none, or if the caller did not create it and may not read the tasks either.
CREATE OR REPLACE FUNCTION taskflow.task_status(id bigint)
RETURNS TABLE (id bigint, type text, queue text, state text, attempt integer, max_attempts integer, run_at timestamptz,
               finished_at timestamptz, progress smallint, result jsonb, error text)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.id, t.type::text, t.queue::text, taskflow.shown_state(t.state, t.run_at), t.attempt,
           taskflow.effective_max_attempts(t.max_attempts, t.type, t.queue), t.run_at, t.finished_at, t.progress, t.result, t.error
    FROM taskflow.find_task(task_status.id) t
    WHERE t.created_by = session_user OR has_table_privilege(session_user, 'taskflow.task_list', 'SELECT')
$$;
