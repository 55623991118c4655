-- Ends a batch of attempts of one worker, all outcomes in one call, each with its audit row in the same transaction.
--
-- The fence: an attempt is ended only if the task is still running it for this worker. A worker that was given up and
-- comes back changes nothing. Returned are the refused ones (state NULL) and, with their new state and run_at, those
-- that did not succeed; nothing for a success, the usual case. Besides a row without id for each queue in which the next
-- task of a concurrency key may be claimed now, with the queue as `state`.
--
-- p_waited: seconds between the claim and the handler's start, on the worker's clock: started_at is reckoned from
-- claimed_at with it, so that no worker's wall clock enters the tables. p_results NULL: no result at all.
-- p_outcomes NULL: all succeeded. p_details: see end_attempt; for a success only `logs` and the progress.
-- No join between the arrays and the table: see claim_tasks. What belongs to a row is found by binary search instead
-- (width_bucket), so p_ids MUST be in ascending order; a row that is not found where it should be is refused.
-- Measured with batches of 500: 44 us of server CPU a task with array_position, which searches from the start.
CREATE OR REPLACE FUNCTION taskflow.complete_tasks(
    p_worker bigint, p_ids bigint[], p_attempts integer[], p_waited double precision[], p_results jsonb[],
    p_outcomes text[] DEFAULT NULL, p_details jsonb[] DEFAULT NULL)
RETURNS TABLE (id bigint, attempt integer, state text, run_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET lock_timeout = '250ms'  -- see locked_tasks
AS $$
DECLARE
    v_now timestamptz;
    v_ids bigint[] := p_ids;
    v_expected integer := cardinality(p_ids);
    v_done integer := 0;
    v_ended bigint[] := '{}';
    v_task taskflow.tasks_live;
    v_end record;
    v_queues text[] := '{}';
    v_key_queues text[] := '{}';
    v_keys text[] := '{}';
BEGIN
    IF p_outcomes IS NOT NULL THEN
        -- Locked first and in id order, as every statement locks, since two statements write them below.
        PERFORM FROM taskflow.tasks_live t WHERE t.id = ANY (p_ids) ORDER BY t.id FOR UPDATE;
        v_ids := ARRAY(SELECT p_ids[i] FROM generate_subscripts(p_ids, 1) i WHERE p_outcomes[i] = 'succeeded');
    END IF;
    v_now := clock_timestamp();

    IF cardinality(v_ids) > 0 THEN
        WITH done AS (
            UPDATE taskflow.tasks t
            SET state = 'completed', key_state = NULL, error = NULL,
                finished_at = v_now, updated_at = v_now, version = t.version + 1,
                started_at = coalesce(t.started_at,
                    t.claimed_at + p_waited[width_bucket(t.id, p_ids)] * interval '1 second'),
                result = p_results[width_bucket(t.id, p_ids)],
                progress = coalesce((p_details[width_bucket(t.id, p_ids)] ->> 'progress')::smallint, t.progress),
                progress_message = CASE WHEN p_details[width_bucket(t.id, p_ids)] ? 'progress'
                    THEN p_details[width_bucket(t.id, p_ids)] ->> 'progress_message' ELSE t.progress_message END
            WHERE t.id = ANY (v_ids) AND t.state = 'running' AND t.worker_id = p_worker
              AND p_ids[width_bucket(t.id, p_ids)] = t.id AND t.attempt = p_attempts[width_bucket(t.id, p_ids)]
              -- An id may be there twice, with an old attempt that succeeded before an operator retried the task.
              AND (p_outcomes IS NULL OR p_outcomes[width_bucket(t.id, p_ids)] = 'succeeded')
            RETURNING t.id, t.attempt, t.queue, t.type, t.started_at, t.concurrency_key)
        , audited AS (
            INSERT INTO taskflow.executions (task_id, attempt, outcome, worker_id, queue, type, started_at, finished_at, logs)
            SELECT d.id, d.attempt, 'succeeded', p_worker, d.queue, d.type, d.started_at, v_now,
                   CASE WHEN p_details IS NOT NULL THEN p_details[width_bucket(d.id, p_ids)] -> 'logs' END
            FROM done d)
        SELECT count(*), coalesce(array_agg(d.queue::text) FILTER (WHERE d.concurrency_key IS NOT NULL), '{}'),
               coalesce(array_agg(d.concurrency_key::text) FILTER (WHERE d.concurrency_key IS NOT NULL), '{}')
        INTO v_done, v_key_queues, v_keys FROM done d;
    END IF;

    IF p_outcomes IS NOT NULL THEN
        FOR i IN 1 .. v_expected LOOP
            CONTINUE WHEN p_outcomes[i] = 'succeeded';
            SELECT * INTO v_task FROM taskflow.tasks_live t
            WHERE t.id = p_ids[i] AND t.state = 'running' AND t.worker_id = p_worker AND t.attempt = p_attempts[i];
            CONTINUE WHEN NOT FOUND;
            v_end := taskflow.end_attempt(v_task, p_outcomes[i]::taskflow.execution_outcome, p_waited[i], p_details[i]);
            v_done := v_done + 1;
            v_ended := v_ended || p_ids[i];
            IF v_task.concurrency_key IS NOT NULL THEN
                v_key_queues := v_key_queues || v_task.queue::text;
                v_keys := v_keys || v_task.concurrency_key::text;
            END IF;
            id := p_ids[i]; attempt := p_attempts[i]; state := v_end.new_state; run_at := v_end.new_run_at;
            IF state IN ('pending', 'retrying') AND NOT v_task.queue = ANY (v_queues) THEN
                v_queues := v_queues || v_task.queue::text;
            END IF;
            RETURN NEXT;
        END LOOP;
        PERFORM taskflow.ring(v_queues);  -- also for later: a sleeper must know the new time of its next task
    END IF;

    IF cardinality(v_keys) > 0 THEN
        RETURN QUERY SELECT NULL::bigint, NULL::integer, q, NULL::timestamptz
        FROM unnest(taskflow.release_keys(v_key_queues, v_keys, true)) q;
    END IF;

    IF v_done < v_expected THEN  -- somebody else has ended some of them: say which
        FOR i IN 1 .. v_expected LOOP
            CONTINUE WHEN p_ids[i] = ANY (v_ended) OR EXISTS (
                SELECT FROM taskflow.executions e
                WHERE e.task_id = p_ids[i] AND e.attempt = p_attempts[i] AND e.worker_id = p_worker
                  AND e.finished_at = v_now);
            id := p_ids[i]; attempt := p_attempts[i]; state := NULL; run_at := NULL;
            RETURN NEXT;
        END LOOP;
    END IF;
END $$;
