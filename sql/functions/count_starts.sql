-- Counts what was just claimed in the window that starts_left looks at, and forgets what that does not see any more. To be
-- called under the lock of the queue, see claim_limited.
CREATE OR REPLACE FUNCTION taskflow.count_starts(
    p_queue text, p_type text, p_period double precision, p_now timestamptz, p_starts integer) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    DELETE FROM taskflow.rate_windows w
    WHERE w.queue = p_queue AND w.type = p_type
      AND (w.window_start <= p_now - taskflow.window_span(p_period) OR w.window_start > p_now + taskflow.window_span(p_period));
    INSERT INTO taskflow.rate_windows AS w (queue, type, window_start, starts)
    VALUES (p_queue, p_type,
            date_bin(taskflow.window_part(p_period) * interval '1 second', p_now, timestamptz 'epoch'), p_starts)
    ON CONFLICT (queue, type, window_start) DO UPDATE SET starts = w.starts + excluded.starts
$$;
