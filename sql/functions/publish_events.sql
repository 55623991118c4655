-- Hands a batch of events (JSON text, see docs/events.md) to whoever listens. false: nobody does any more.
--
-- The notification only says which batch to read. Anybody who can connect may LISTEN, and a producer must not see the
-- errors of tasks that are not its own; a payload of a notification also ends at 8,000 bytes. Never in the transaction
-- of a task: a commit that has notified takes a lock on the whole database. A batch that a crash of the server takes
-- along is no loss, since its listeners are disconnected then, so nothing is waited for.
CREATE OR REPLACE FUNCTION taskflow.publish_events(p_body text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_id bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM taskflow.event_listeners l WHERE l.until > clock_timestamp()) THEN
        RETURN false;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO taskflow.event_batches (body) VALUES (p_body) RETURNING id INTO v_id;
    PERFORM pg_notify('taskflow_events', v_id::text);
    IF v_id % 64 = 0 THEN
        DELETE FROM taskflow.event_batches b WHERE b.at < clock_timestamp() - interval '1 minute';
    END IF;
    RETURN true;
END $$;
