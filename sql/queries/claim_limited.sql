SELECT id, attempt, type, queue, priority, run_at, payload::text, metadata::text, timeout, losses, floor, held_seconds, room
FROM taskflow.claim_limited(%s::bigint, %s::text, %s::text[], %s::integer, %s::integer, %s::timestamptz[], %s::bigint[],
                            %s::bigint, %s::jsonb)
