CREATE OR REPLACE FUNCTION taskflow.schedules_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM taskflow.wake_schedules();
    RETURN NULL;
END $$;
