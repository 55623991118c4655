-- The batches that notifications have named, in the order of p_ids, which is that of their commits.
CREATE OR REPLACE FUNCTION taskflow.read_event_batches(p_ids bigint[])
RETURNS TABLE (id bigint, at timestamptz, body text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT b.id, b.at, b.body
    FROM unnest(p_ids) WITH ORDINALITY AS wanted (id, place)
    CROSS JOIN LATERAL (SELECT * FROM taskflow.event_batches e WHERE e.id = wanted.id) b
    ORDER BY wanted.place
$$;
