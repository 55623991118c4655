-- Takes the lease p_name for p_holder, or renews it: true if p_holder has it for the next p_seconds. It goes by the
-- database's clock alone. An end further ahead than anybody grants was written before a clock was set back, and counts
-- as past: otherwise nobody could take over for as long as the clock had jumped.
-- A lease saves work and carries no correctness; that two believe to have it for a moment must not matter.
CREATE OR REPLACE FUNCTION taskflow.acquire_lease(p_name text, p_holder text, p_seconds double precision)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_time interval := make_interval(secs => p_seconds);
BEGIN
    UPDATE taskflow.leases SET holder = p_holder, expires_at = v_now + v_time
    WHERE name = p_name AND (holder = p_holder OR expires_at NOT BETWEEN v_now AND v_now + 4 * v_time);
    IF FOUND THEN
        RETURN true;
    END IF;
    INSERT INTO taskflow.leases (name, holder, expires_at) VALUES (p_name, p_holder, v_now + v_time) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END
$$;
