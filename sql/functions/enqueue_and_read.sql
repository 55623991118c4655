-- enqueue, and the task as it then is, in one call: for callers that show what they have created. Two statements in a
-- volatile function, since the first one's row is not in the snapshot of the statement that made it.
CREATE OR REPLACE FUNCTION taskflow.enqueue_and_read(
    p_type text, p_payload jsonb, p_queue text, p_priority integer, p_run_at timestamptz, p_unique_key text, p_options jsonb)
RETURNS TABLE (created boolean, task taskflow.task_list)
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_new record;
BEGIN
    SELECT e.id, e.created INTO v_new
    FROM taskflow.enqueue(p_type, p_payload, p_queue, p_priority, p_run_at, p_unique_key, p_options) e;
    RETURN QUERY SELECT v_new.created, t FROM taskflow.read_task(v_new.id) t;
END $$;
