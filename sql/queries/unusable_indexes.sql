-- The indexes of the schema that are broken, and those of `wanted` that are missing.
SELECT c.relname AS name, 'invalid' AS state
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'taskflow'::regnamespace AND NOT (i.indisvalid AND i.indisready AND i.indislive)
UNION ALL
SELECT wanted, 'missing' FROM unnest(%(wanted)s::text[]) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'taskflow'::regnamespace AND c.relname = wanted
                                           AND c.relkind IN ('i', 'I'))
ORDER BY 1
