SELECT id, attempt, state, run_at
FROM taskflow.complete_tasks(%s::bigint, %s::bigint[], %s::integer[], %s::double precision[], %s::jsonb[], %s::text[], %s::jsonb[])
