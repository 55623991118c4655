-- Which events somebody listens for at the moment, and for how many seconds already; no row: nobody does, so publish
-- nothing. A server that is gone is forgotten when its time is up.
CREATE OR REPLACE FUNCTION taskflow.events_wanted() RETURNS TABLE (event text, seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e, max(extract(epoch FROM clock_timestamp() - l.since))::double precision
    FROM taskflow.event_listeners l, unnest(l.events) e
    WHERE l.until > clock_timestamp()
    GROUP BY e
$$;
