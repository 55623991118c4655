-- How many connections there may be, and are. A limit of -1 is none.
SELECT current_setting('max_connections')::integer AS most,
       current_setting('superuser_reserved_connections')::integer
           + coalesce(current_setting('reserved_connections', true), '0')::integer AS reserved,
       (SELECT sum(d.numbackends) FROM pg_stat_database d)::integer AS open,
       (SELECT r.rolconnlimit FROM pg_roles r WHERE r.rolname = current_user) AS of_login,
       (SELECT d.datconnlimit FROM pg_database d WHERE d.datname = current_database()) AS of_database
