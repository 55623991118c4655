-- Every task as people see it: the derived state, and the limits that hold for it. `stored_state` is the column of the
-- table, for conditions that should skip whole partitions.
CREATE OR REPLACE VIEW taskflow.task_list AS
SELECT t.id, t.type::text AS type, t.queue::text AS queue, t.payload::jsonb AS payload, t.priority,
       taskflow.shown_state(t.state, t.run_at) AS state, t.state AS stored_state,
       t.attempt, t.failures, t.losses,
       taskflow.effective_max_attempts(t.max_attempts, t.type, t.queue) AS max_attempts,
       taskflow.effective_timeout(t.timeout, t.type, t.queue) AS timeout,
       t.retry_strategy, t.retry_delay, t.max_retry_delay,
       t.progress, t.progress_message, t.result, t.error, t.metadata::jsonb AS metadata, t.tags::text[] AS tags,
       t.unique_key::text AS unique_key, t.concurrency_key::text AS concurrency_key, t.worker_id,
       t.created_at, t.created_by, t.updated_at, t.run_at, t.claimed_at, coalesce(t.started_at, t.claimed_at) AS started_at,
       t.finished_at, t.cancel_requested, t.schedule_id, t.version
FROM taskflow.tasks t;
