-- Live tasks with their types, in the order in which the ids are given.
CREATE OR REPLACE FUNCTION taskflow.types_of(p_ids bigint[]) RETURNS TABLE (id bigint, type text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT i.id, t.type::text FROM unnest(p_ids) i (id)
    CROSS JOIN LATERAL (SELECT l.type FROM taskflow.tasks_live l WHERE l.id = i.id OFFSET 0) t
$$;
