-- The daily tables by their names, attached or left over from a removal that was interrupted.
SELECT c.relname AS name,
       substring(c.relname FROM '^(.*)_[0-9]{8}$') AS parent,
       right(c.relname, 8) AS day,
       i.inhrelid IS NOT NULL AS attached,
       coalesce(i.inhdetachpending, false) AS detach_pending,
       pg_has_role(c.relowner, 'USAGE') AS owned
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE c.relnamespace = 'taskflow'::regnamespace AND c.relkind = 'r'
  AND c.relname ~ '^(tasks_completed|tasks_ended|executions)_[0-9]{8}$'
ORDER BY c.relname
