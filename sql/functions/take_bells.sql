-- Takes the bells of queues for this session (see ring); to be called on the LISTEN connection, for bells not yet held.
--
-- held: this session's now, until give_bells or its end. taken: another sleeper holds it; ask again later.
-- busy: a transaction that has put something into the queue without notifying is still open; poll until it ends.
CREATE OR REPLACE FUNCTION taskflow.take_bells(p_queues text[], OUT held text[], OUT taken text[], OUT busy text[])
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_queue text;
    v_bell integer;
BEGIN
    held := '{}'; taken := '{}'; busy := '{}';
    FOREACH v_queue IN ARRAY p_queues LOOP
        v_bell := CASE v_queue WHEN '*' THEN -1 ELSE hashtext(v_queue) & 1023 END;
        IF pg_try_advisory_lock(1413567307, v_bell) THEN
            held := held || v_queue;
        ELSIF pg_try_advisory_lock_shared(1413567307, v_bell) THEN
            PERFORM pg_advisory_unlock_shared(1413567307, v_bell);
            busy := busy || v_queue;
        ELSE
            taken := taken || v_queue;
        END IF;
    END LOOP;
END $$;
