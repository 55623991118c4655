-- Ends the attempt under way of a task in any way but success: the new state of the task and the audit row of the
-- attempt. The one place where it is decided whether a task runs again, for completions and for the rescuer.
--
-- The caller has locked the row and checked its fence. p_details: error, traceback, logs; final (no further attempt);
-- retry_after or seconds (when to run again, in seconds); charged (false: not counted against max_attempts);
-- lost (false: a loss that says nothing about the task); progress and progress_message, if the last report is not stored
-- yet. What the task leaves open is its type's, then its queue's.
CREATE OR REPLACE FUNCTION taskflow.end_attempt(
    p_task taskflow.tasks_live, p_outcome taskflow.execution_outcome, p_waited double precision, p_details jsonb,
    OUT new_state taskflow.task_state, OUT new_run_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_error text := left(p_details ->> 'error', 20000);
    v_started timestamptz := coalesce(p_task.started_at, p_task.claimed_at + make_interval(secs => coalesce(p_waited, 0)));
    v_charged boolean := p_outcome IN ('failed', 'timed_out', 'lost') AND coalesce((p_details ->> 'charged')::boolean, true);
    v_failures integer := p_task.failures + v_charged::integer;
    v_wait double precision := coalesce((p_details ->> 'retry_after')::double precision,
                                        (p_details ->> 'seconds')::double precision);
    v_queue taskflow.queues;
    v_type taskflow.task_types;
BEGIN
    new_run_at := p_task.run_at;
    IF p_outcome = 'cancelled' OR p_task.cancel_requested THEN
        new_state := 'cancelled';
    ELSIF NOT v_charged THEN
        new_state := 'pending';
        IF v_wait IS NOT NULL THEN
            new_run_at := v_now + make_interval(secs => v_wait);
        END IF;
    ELSE
        SELECT * INTO v_queue FROM taskflow.queues q WHERE q.name = p_task.queue;
        SELECT * INTO v_type FROM taskflow.task_types y WHERE y.type = p_task.type;
        IF v_failures >= coalesce(p_task.max_attempts, v_type.max_attempts, v_queue.max_retries + 1, 5)
           OR (p_details ->> 'final')::boolean THEN
            new_state := CASE WHEN v_queue.dead_letter IS FALSE THEN 'failed' ELSE 'dead_letter' END;
        ELSE
            new_state := 'retrying';
            new_run_at := v_now + CASE WHEN v_wait IS NOT NULL THEN make_interval(secs => v_wait) ELSE taskflow.retry_delay(
                coalesce(p_task.retry_strategy, v_type.retry_strategy, v_queue.retry_strategy, 'exponential'),
                coalesce(p_task.retry_delay, v_type.retry_delay, v_queue.retry_delay, 1),
                coalesce(p_task.max_retry_delay, v_type.max_retry_delay, v_queue.max_retry_delay, 600),
                coalesce(v_queue.retry_jitter, 0.1), v_failures) END;
        END IF;
    END IF;

    UPDATE taskflow.tasks t
    SET state = new_state, key_state = NULL, run_at = new_run_at, failures = v_failures, error = v_error,
        started_at = v_started,
        losses = t.losses + (p_outcome = 'lost' AND coalesce((p_details ->> 'lost')::boolean, true))::integer,
        worker_id = CASE WHEN new_state IN ('pending', 'retrying') THEN NULL ELSE t.worker_id END,
        finished_at = CASE WHEN new_state IN ('pending', 'retrying') THEN NULL ELSE v_now END,
        updated_at = v_now, version = t.version + 1,
        progress = coalesce((p_details ->> 'progress')::smallint, t.progress),
        progress_message = CASE WHEN p_details ? 'progress' THEN p_details ->> 'progress_message'
            ELSE t.progress_message END,
        fingerprint = CASE WHEN new_state = 'dead_letter' THEN taskflow.error_fingerprint(t.type, v_error) END
    WHERE t.id = p_task.id AND t.state = 'running';

    INSERT INTO taskflow.executions
        (task_id, attempt, outcome, worker_id, queue, type, started_at, finished_at, error, traceback, logs, next_state)
    VALUES (p_task.id, p_task.attempt, p_outcome, p_task.worker_id, p_task.queue, p_task.type, v_started, v_now,
            v_error, left(p_details ->> 'traceback', 50000), p_details -> 'logs', new_state);
END $$;
