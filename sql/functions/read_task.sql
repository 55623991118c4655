-- One row of task_list by its id; see find_task.
CREATE OR REPLACE FUNCTION taskflow.read_task(p_id bigint) RETURNS SETOF taskflow.task_list
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    RETURN QUERY SELECT * FROM taskflow.task_list t
    WHERE t.id = p_id AND t.stored_state IN ('pending', 'retrying', 'running', 'blocked');
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT * FROM taskflow.task_list t WHERE t.id = p_id AND t.stored_state = 'dead_letter';
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT * FROM taskflow.task_list t WHERE t.id = p_id AND t.stored_state = 'completed';
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT * FROM taskflow.task_list t WHERE t.id = p_id AND t.stored_state IN ('cancelled', 'failed');
END $$;
