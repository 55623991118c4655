-- A task by its id, wherever it is: among the live, then the dead letters, then the finished, newest state first. In a
-- function, for its generic plan: to plan the look-up over all the days anew takes longer than to run it.
CREATE OR REPLACE FUNCTION taskflow.find_task(p_id bigint) RETURNS SETOF taskflow.tasks
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    RETURN QUERY SELECT * FROM taskflow.tasks t
    WHERE t.id = p_id AND t.state IN ('pending', 'retrying', 'running', 'blocked');
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT * FROM taskflow.tasks t WHERE t.id = p_id AND t.state = 'dead_letter';
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT * FROM taskflow.tasks t WHERE t.id = p_id AND t.state = 'completed';
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT * FROM taskflow.tasks t WHERE t.id = p_id AND t.state IN ('cancelled', 'failed');
END $$;
