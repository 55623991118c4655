SELECT event, id, type, queue, priority, state, attempt, worker_id, run_at, error, at
FROM taskflow.observe_tasks(%s::bigint[], %s::bigint[], %s::integer)
