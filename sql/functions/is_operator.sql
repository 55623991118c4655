-- Whether the session may touch tasks of others: the owner of the tables, an operator, the REST API, a superuser. It asks
-- for the session's own user, since these functions run with their owner's rights.
CREATE OR REPLACE FUNCTION taskflow.is_operator() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_has_role(session_user, c.relowner, 'MEMBER')
        OR EXISTS (SELECT FROM pg_roles r
                   WHERE r.rolname IN ('taskflow_operator', 'taskflow_server')
                     AND pg_has_role(session_user, r.oid, 'MEMBER'))
    FROM pg_class c WHERE c.oid = 'taskflow.tasks'::regclass
$$;
