-- Gives the lease up, so that another need not wait for its end; false if p_holder had it no more.
CREATE OR REPLACE FUNCTION taskflow.release_lease(p_name text, p_holder text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM taskflow.leases WHERE name = p_name AND holder = p_holder;
    RETURN FOUND;
END
$$;
