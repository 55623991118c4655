CREATE OR REPLACE FUNCTION taskflow.raise_key_limit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM taskflow.release_waiting_keys(NEW.name);
    RETURN NULL;
END $$;
