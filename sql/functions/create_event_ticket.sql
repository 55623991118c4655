-- A ticket for a stream of events, for p_seconds. Only its SHA-256 is stored; p_holder says whose it is.
CREATE OR REPLACE FUNCTION taskflow.create_event_ticket(
    p_digest bytea, p_holder jsonb, p_seconds double precision) RETURNS timestamptz
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM taskflow.event_tickets WHERE expires_at < clock_timestamp();
    INSERT INTO taskflow.event_tickets (digest, holder, expires_at)
    VALUES (p_digest, p_holder, clock_timestamp() + make_interval(secs => p_seconds))
    RETURNING expires_at
$$;
