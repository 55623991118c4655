CREATE OR REPLACE FUNCTION taskflow.ring_on_insert() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM taskflow.ring(ARRAY(SELECT DISTINCT inserted.queue::text FROM inserted));
    RETURN NULL;
END $$;
