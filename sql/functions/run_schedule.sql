-- Creates a task of a schedule now, whether it is enabled or not and whatever still runs, and says its id; NULL if there
-- is no such schedule. It counts as a run, also towards max_runs.
CREATE OR REPLACE FUNCTION taskflow.run_schedule(p_id bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_schedule taskflow.schedules;
    v_now timestamptz;
    v_due timestamptz;
BEGIN
    SELECT * INTO v_schedule FROM taskflow.schedules s WHERE s.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_now := clock_timestamp();
    v_due := coalesce(v_schedule.next_run_at, 'infinity');
    PERFORM taskflow.fire_schedules(
        ARRAY[p_id], ARRAY[v_schedule.version], ARRAY[v_schedule.run_count], ARRAY[v_due], ARRAY[v_due],
        ARRAY[p_id], ARRAY[v_now], ARRAY[now()], true);
    -- The leader has counted the runs beforehand: it looks again.
    PERFORM taskflow.wake_schedules();
    RETURN (SELECT r.task_id FROM taskflow.schedule_runs r WHERE r.schedule_id = p_id AND r.fire_at = v_now);
END $$;
