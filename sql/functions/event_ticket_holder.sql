-- Whose the ticket with this SHA-256 is; NULL where there is none, or its time is up.
CREATE OR REPLACE FUNCTION taskflow.event_ticket_holder(p_digest bytea) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT holder FROM taskflow.event_tickets WHERE digest = p_digest AND expires_at > clock_timestamp()
$$;
