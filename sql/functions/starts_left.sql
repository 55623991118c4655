-- How many tasks of a queue, and of a type in it ('': of all), may still start now, if it is to be no more than p_limit in
-- any p_period seconds; and when the next may, if none may now.
--
-- A sliding window, counted in a hundred parts of a period each: a part counts until the last of it has left the window,
-- so there are never more starts than allowed, and at most one part in a hundred later than they might be. What lies ahead
-- by more than a window does not count: a clock was set back, and nobody should wait for it.
CREATE OR REPLACE FUNCTION taskflow.starts_left(
    p_queue text, p_type text, p_limit integer, p_period double precision, p_now timestamptz,
    OUT starts integer, OUT next_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_span interval := taskflow.window_span(p_period);
BEGIN
    SELECT greatest(0, p_limit - coalesce(sum(w.starts), 0)), min(w.window_start) + v_span INTO starts, next_at
    FROM taskflow.rate_windows w
    WHERE w.queue = p_queue AND w.type = p_type AND w.window_start > p_now - v_span AND w.window_start <= p_now + v_span;
END $$;
