-- How long a start is counted: the period of a rate limit and one part of it, see starts_left.
CREATE OR REPLACE FUNCTION taskflow.window_span(p_period double precision) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (least(p_period, 1e9) + taskflow.window_part(p_period)) * interval '1 second';
