-- Hints to all workers that a queue is not what it was, so that they read its settings anew at once, whoever changed them.
CREATE OR REPLACE FUNCTION taskflow.tell_of_queue() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('taskflow_control', json_build_object('queue', coalesce(NEW.name, OLD.name))::text);
    RETURN NULL;
END $$;
