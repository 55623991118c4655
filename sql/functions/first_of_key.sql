-- The first p_room due tasks of a concurrency key in the order in which they are to start, at most p_most of each of p_types.
CREATE OR REPLACE FUNCTION taskflow.first_of_key(
    p_queue text, p_key text, p_types text[], p_most integer[], p_room integer, p_now timestamptz) RETURNS bigint[]
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    RETURN ARRAY(
        SELECT c.id
        FROM unnest(p_types, p_most) AS y (type, most)
        CROSS JOIN generate_series(0, 3) AS p (priority)
        CROSS JOIN LATERAL (
            SELECT t.id, t.run_at FROM taskflow.tasks_live t
            WHERE t.queue = p_queue AND t.concurrency_key = p_key AND t.type = y.type AND t.priority = p.priority
              AND t.run_at <= p_now AND t.key_state IS DISTINCT FROM 'running'
            ORDER BY t.run_at, t.id LIMIT least(y.most, p_room)) c
        ORDER BY p.priority DESC, c.run_at, c.id
        LIMIT p_room);
END $$;
