-- Gives bells up that take_bells has given to this session, and tells the other sleepers, so that one of them takes over.
CREATE OR REPLACE FUNCTION taskflow.give_bells(p_queues text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_queue text;
BEGIN
    FOREACH v_queue IN ARRAY p_queues LOOP
        PERFORM pg_advisory_unlock(1413567307, CASE v_queue WHEN '*' THEN -1 ELSE hashtext(v_queue) & 1023 END);
        PERFORM pg_notify('taskflow_bell', v_queue);
    END LOOP;
END $$;
