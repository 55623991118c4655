-- The oldest program that this schema still serves, as the newest migration that such a program must know. Raised only
-- by a change that yesterday's programs cannot survive; they then refuse to start, and say why.
CREATE OR REPLACE FUNCTION taskflow.oldest_revision() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT '0001' $$;
