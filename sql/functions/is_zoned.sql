-- Whether a text says a time in any session alike: as ISO 8601 (RFC 3339) has it, with its offset from UTC. Others, such as
-- "tomorrow", "05/06/2030" or a time without an offset, mean what TimeZone and DateStyle of the caller make of them.
CREATE OR REPLACE FUNCTION taskflow.is_zoned(p_time text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT p_time ~ '^\d{4,}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)? ?([Zz]|[+-]\d\d(:?\d\d){0,2})$|^-?infinity$'
$$;
