-- The triggers of `wanted` that are switched off or missing.
SELECT wanted AS name, CASE WHEN bool_or(t.tgenabled = 'D') THEN 'disabled' ELSE 'missing' END AS state,
       min(t.tgrelid::regclass::text) AS relation
FROM unnest(%(wanted)s::text[]) AS wanted
LEFT JOIN pg_trigger t ON t.tgname = wanted AND NOT t.tgisinternal AND t.tgrelid IN (
    SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'taskflow'::regnamespace)
GROUP BY wanted HAVING count(t.oid) = 0 OR bool_or(t.tgenabled = 'D')
ORDER BY 1
