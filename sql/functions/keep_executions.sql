-- Moves executions of tasks that still exist out of a day that is about to be dropped, p_partition (its name without the
-- schema, attached or not), into executions_kept. One batch: from the tasks after p_after, at most p_limit of them and at
-- most p_limit rows. Returns where to go on, NULL when all is done.
--
-- It asks for the tasks, not for the executions: ids grow with time, so of the tasks with an id up to the highest of that
-- day few are left (mostly dead letters), while the day may have millions of rows. One statement sees each row either here
-- or there: no reader misses one or finds it twice.
CREATE OR REPLACE FUNCTION taskflow.keep_executions(p_partition text, p_after bigint, p_limit integer DEFAULT 1000)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    v_first bigint;
    v_last  bigint;
    v_ids   bigint[];
    v_moved integer;
BEGIN
    IF p_partition !~ '^executions_[0-9]{8}$' THEN
        RAISE EXCEPTION 'not a day of executions: %', p_partition USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('SELECT min(task_id), max(task_id) FROM taskflow.%I', p_partition) INTO v_first, v_last;
    SELECT array_agg(s.id ORDER BY s.id) INTO v_ids FROM (
        SELECT t.id FROM taskflow.tasks t
        WHERE t.id > greatest(p_after, v_first - 1) AND t.id <= v_last
        ORDER BY t.id LIMIT p_limit) AS s;
    IF v_ids IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'WITH moved AS ('
        '  DELETE FROM taskflow.%1$I WHERE ctid = ANY (ARRAY('
        '    SELECT e.ctid FROM taskflow.%1$I e WHERE e.task_id = ANY ($1) LIMIT $2)) RETURNING *'
        '), kept AS ('
        '  INSERT INTO taskflow.executions_kept'
        '    (task_id, attempt, queue, type, worker_id, started_at, finished_at, outcome, error, traceback, logs)'
        '  SELECT task_id, attempt, queue, type, worker_id, started_at, finished_at, outcome, error, traceback, logs'
        '  FROM moved ON CONFLICT DO NOTHING'
        ') SELECT count(*) FROM moved', p_partition)
        INTO v_moved USING v_ids, p_limit;
    -- As many rows as allowed: there may be more of the same tasks.
    RETURN CASE WHEN v_moved = p_limit THEN p_after ELSE v_ids[cardinality(v_ids)] END;
END
$$;
