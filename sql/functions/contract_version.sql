-- The version of the SQL contract: raised when a function, an option or a column is added, never for a change of one that
-- exists.
CREATE OR REPLACE FUNCTION taskflow.contract_version() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 1';
