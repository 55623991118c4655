-- Every attempt, the one under way included: started, then succeeded, failed, timed_out, lost, cancelled or snoozed.
CREATE OR REPLACE VIEW taskflow.task_executions AS
SELECT e.task_id, e.attempt, e.outcome::text AS status, e.worker_id, e.started_at, e.finished_at, e.error, e.traceback, e.logs
FROM taskflow.executions e
UNION ALL
SELECT k.task_id, k.attempt, k.outcome::text, k.worker_id, k.started_at, k.finished_at, k.error, k.traceback, k.logs
FROM taskflow.executions_kept k
UNION ALL
SELECT t.id, t.attempt, 'started', t.worker_id, coalesce(t.started_at, t.claimed_at), NULL, NULL, NULL, NULL
FROM taskflow.tasks_live t WHERE t.state = 'running';
