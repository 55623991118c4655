-- What errors of one kind have in common: the type of the task and the beginning of the error's text, without what differs
-- from one task to the next (ids, numbers, addresses, quoted values). Stored with dead letters, to group them.
CREATE OR REPLACE FUNCTION taskflow.error_fingerprint(p_type text, p_error text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN left(encode(sha256(convert_to(p_type || E'\n' || regexp_replace(regexp_replace(left(coalesce(p_error, ''), 500),
    '''[^'']*''|"[^"]*"', '?', 'g'),
    '0x[0-9a-f]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]*[0-9][0-9a-f]*', '?', 'gi'), 'UTF8')), 'hex'), 16);
