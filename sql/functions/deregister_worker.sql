-- A worker that has ended or given back everything leaves. Should anything of it run all the same, the claim of that stays,
-- and the rescuer finds it.
CREATE OR REPLACE FUNCTION taskflow.deregister_worker(p_worker bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM taskflow.workers WHERE id = p_worker;
    SELECT taskflow.forget_claims(p_worker)
$$;
