-- A queue that had no max_workers gets one: claim_limited looks for the tasks that were claimed before it knew.
CREATE OR REPLACE FUNCTION taskflow.limit_queue() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.limited_at := '9999-01-01 00:00+00';
    RETURN NEW;
END $$;
