-- Removes a batch of fire times that are a week old, but for those whose task is still live: an overlap is seen by them.
-- Returns how many went; fewer than p_limit means that nothing is left to do.
CREATE OR REPLACE FUNCTION taskflow.forget_schedule_runs(p_limit integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
AS $$
DECLARE
    v_rows integer;
BEGIN
    DELETE FROM taskflow.schedule_runs WHERE ctid = ANY (ARRAY(
        SELECT r.ctid FROM taskflow.schedule_runs r
        WHERE r.fire_at < now() - interval '7 days'
          AND NOT EXISTS (SELECT FROM taskflow.tasks_live t WHERE t.id = r.task_id)
        ORDER BY r.fire_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END $$;
