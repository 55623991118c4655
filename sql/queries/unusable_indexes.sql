-- The indexes of the schema that are broken, and those of `names` that are missing or not what `definitions` say. How an index
-- is stored (WITH ...) is for whoever runs the database to choose.
SELECT c.relname AS name, 'invalid' AS state, pg_get_indexdef(c.oid) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'taskflow'::regnamespace AND NOT (i.indisvalid AND i.indisready AND i.indislive)
UNION ALL
SELECT w.name, CASE WHEN c.oid IS NULL THEN 'missing' ELSE 'different' END, pg_get_indexdef(c.oid)
FROM unnest(%(names)s::text[], %(definitions)s::text[]) AS w (name, definition)
LEFT JOIN pg_class c ON c.relnamespace = 'taskflow'::regnamespace AND c.relname = w.name AND c.relkind IN ('i', 'I')
WHERE regexp_replace(pg_get_indexdef(c.oid), ' WITH \([^)]*\)', '')
      IS DISTINCT FROM regexp_replace(w.definition, ' WITH \([^)]*\)', '')
ORDER BY 1, 2
