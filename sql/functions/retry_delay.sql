-- How long a task waits before its next attempt, after its nth charged failure: fixed d, linear d * n, exponential
-- d * 2^(n-1); spread by the jitter (a fraction: 0.1 gives 0.9 to 1.1 of it), and never above the cap.
CREATE OR REPLACE FUNCTION taskflow.retry_delay(
    p_strategy taskflow.retry_strategy, p_delay double precision, p_max_delay double precision,
    p_jitter double precision, p_failures integer) RETURNS interval
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT make_interval(secs => least(p_max_delay, (1 + p_jitter * (2 * random() - 1)) * CASE p_strategy
        WHEN 'fixed' THEN p_delay
        WHEN 'linear' THEN p_delay * p_failures
        ELSE p_delay * 2 ^ least(p_failures - 1, 60)  -- beyond that every cap is reached, and numbers overflow
    END))
$$;
