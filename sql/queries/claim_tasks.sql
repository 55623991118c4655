SELECT id, attempt, type, queue, priority, run_at, payload::text, metadata::text, timeout, losses
FROM taskflow.claim_tasks(%s::bigint, %s::text[], %s::text[], %s::integer, %s::timestamptz[], %s::bigint[], %s::jsonb)
