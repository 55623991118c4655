-- A web server wants these events for the next p_seconds; to be repeated before they are over, and at once when it wants
-- others. Where an event was wanted by nobody before, the workers are told to look (see events_wanted).
-- others: further servers that listen. last_id: the last task id that was given out.
CREATE OR REPLACE FUNCTION taskflow.listen_for_events(
    p_listener uuid, p_events text[], p_seconds double precision, OUT others integer, OUT last_id bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_new boolean;
BEGIN
    v_new := EXISTS (
        SELECT FROM unnest(p_events) e
        WHERE NOT EXISTS (SELECT FROM taskflow.event_listeners l WHERE l.until > v_now AND e = ANY (l.events)));
    INSERT INTO taskflow.event_listeners AS l (id, events, since, until)
    VALUES (p_listener, p_events, v_now, v_now + make_interval(secs => p_seconds))
    ON CONFLICT (id) DO UPDATE
    SET until = excluded.until, events = excluded.events,
        since = CASE WHEN l.until > v_now AND excluded.events <@ l.events THEN l.since ELSE excluded.since END;
    IF v_new THEN
        PERFORM pg_notify('taskflow_control', '{"events": true}');
    END IF;
    SELECT count(*) INTO others FROM taskflow.event_listeners l WHERE l.id <> p_listener AND l.until > v_now;
    last_id := coalesce(pg_sequence_last_value(pg_get_serial_sequence('taskflow.tasks', 'id')::regclass), 0);
END $$;
