-- A web server wants no events any more. What others left behind that ended without saying so goes as well.
CREATE OR REPLACE FUNCTION taskflow.stop_listening_for_events(p_listener uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM taskflow.event_listeners WHERE id = p_listener OR until < clock_timestamp() - interval '1 hour'
$$;
