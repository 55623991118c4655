-- Removes from executions_kept what belongs to tasks that are gone. One batch of p_limit rows after the task p_after;
-- returns the task to go on after, NULL when all is done.
CREATE OR REPLACE FUNCTION taskflow.forget_executions(p_after bigint, p_limit integer DEFAULT 1000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_ids bigint[];
BEGIN
    SELECT array_agg(DISTINCT s.task_id) INTO v_ids FROM (
        SELECT k.task_id FROM taskflow.executions_kept k WHERE k.task_id > p_after ORDER BY k.task_id LIMIT p_limit) AS s;
    IF v_ids IS NULL THEN
        RETURN NULL;
    END IF;
    DELETE FROM taskflow.executions_kept k
    WHERE k.task_id = ANY (ARRAY(SELECT i FROM unnest(v_ids) AS i
                                 EXCEPT SELECT t.id FROM taskflow.tasks t WHERE t.id = ANY (v_ids)));
    RETURN v_ids[cardinality(v_ids)];
END
$$;
