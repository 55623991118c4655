-- The seconds of one part of a rate window, see starts_left.
CREATE OR REPLACE FUNCTION taskflow.window_part(p_period double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(p_period, 1e9) / 100, 0.001);
