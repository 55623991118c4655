-- Removes a batch of what has had its time: idempotency keys after 24 hours, statistics after 90 days, rate windows when
-- no limit can look at them any more, unique windows when they are over. Returns how many rows went; fewer than p_limit
-- means that nothing is left to do.
CREATE OR REPLACE FUNCTION taskflow.expire_rows(p_limit integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_rows integer;
    v_sum  integer;
    v_period double precision;
BEGIN
    DELETE FROM taskflow.idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM taskflow.idempotency_keys WHERE created_at < now() - interval '24 hours'
        ORDER BY created_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_sum = ROW_COUNT;
    DELETE FROM taskflow.task_stats WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM taskflow.task_stats WHERE minute < now() - interval '90 days'
        ORDER BY minute LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_sum := v_sum + v_rows;
    -- Capped before it is a double precision: JSON has numbers that are none.
    SELECT least(coalesce(max(p.seconds), 1), 1e9) INTO v_period FROM (
        SELECT q.rate_period::numeric FROM taskflow.queues q
        UNION ALL
        SELECT (l.value ->> 'rate_period')::numeric FROM taskflow.queues q, jsonb_each(q.type_limits) l) p (seconds);
    DELETE FROM taskflow.rate_windows WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM taskflow.rate_windows
        WHERE window_start < now() - interval '1 hour' - 2 * taskflow.window_span(v_period)
        LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_sum := v_sum + v_rows;
    DELETE FROM taskflow.unique_windows WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM taskflow.unique_windows WHERE until <= now()
        ORDER BY until LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_sum + v_rows;
END
$$;
