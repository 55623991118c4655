-- The worker ids of claims that have no row in workers: each costs one descent of the primary key of claims.
-- Only the gaps between the ids of known workers are looked through. Below the id of a busy worker lie the index entries
-- of all its claims, dead but not yet removed; to walk over them, with an old snapshot held very many, at every look of the
-- rescuer would be dear.
CREATE OR REPLACE FUNCTION taskflow.orphaned_workers() RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_low  bigint;
    v_high bigint;
BEGIN
    FOR v_low, v_high IN
        SELECT k.id, lead(k.id, 1, 9223372036854775807) OVER (ORDER BY k.id)
        FROM (SELECT (-9223372036854775808)::bigint AS id UNION ALL SELECT w.id FROM taskflow.workers w) AS k
    LOOP
        LOOP
            SELECT c.worker_id INTO v_low FROM taskflow.claims c
            WHERE c.worker_id > v_low AND c.worker_id < v_high ORDER BY c.worker_id LIMIT 1;
            EXIT WHEN NOT FOUND;
            RETURN NEXT v_low;
        END LOOP;
    END LOOP;
END
$$;
