-- Has the leader look at the schedules again when this transaction commits. SET LOCAL taskflow.notify = off keeps silent.
CREATE OR REPLACE FUNCTION taskflow.wake_schedules() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(current_setting('taskflow.notify', true), '') <> 'off' THEN
        PERFORM pg_notify('taskflow_schedules', '');
    END IF;
END $$;
