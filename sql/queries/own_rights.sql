-- What the login is to the schema: whether it owns it, and which of the roles of taskflow it has.
SELECT current_user AS login, pg_has_role(n.nspowner, 'USAGE') AS owns,
       ARRAY(SELECT r.rolname::text FROM pg_roles r
             WHERE r.rolname = ANY (%(roles)s) AND pg_has_role(current_user, r.oid, 'USAGE') ORDER BY 1) AS roles,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions
FROM pg_namespace n WHERE n.nspname = 'taskflow'
