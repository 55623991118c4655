-- Makes a task that has ended pending again and says its state; NULL if there is no such task. `failures` starts at 0,
-- `attempt` goes on counting. options: payload, queue, priority, run_at. Raises TF409 if the task has not ended, TF410
-- (DETAIL: the rival's id) if a live task has taken its unique key meanwhile.
CREATE OR REPLACE FUNCTION taskflow.retry_task(id bigint, options jsonb DEFAULT '{}') RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_tries integer := 0;
    v_task taskflow.tasks;
    v_unknown text;
    v_run_at timestamptz;
    v_queue text;
    v_rival bigint;
BEGIN
    IF jsonb_typeof(options) <> 'object' THEN
        RAISE EXCEPTION 'options must be a JSON object' USING ERRCODE = '22023';
    END IF;
    SELECT string_agg(k, ', ') INTO v_unknown FROM jsonb_object_keys(options) k
    WHERE k NOT IN ('payload', 'queue', 'priority', 'run_at');
    IF v_unknown IS NOT NULL THEN
        RAISE EXCEPTION 'retry_task has no option %', v_unknown USING ERRCODE = '22023',
            HINT = 'options are payload, queue, priority, run_at';
    ELSIF NOT taskflow.is_zoned(options ->> 'run_at') THEN
        RAISE EXCEPTION 'run_at "%" is no time with an offset from UTC', left(options ->> 'run_at', 100)
            USING ERRCODE = '22007', HINT = 'write it like 2030-05-06T07:00:00Z or 2030-05-06T09:00:00+02:00';
    END IF;
    v_run_at := coalesce((options ->> 'run_at')::timestamptz, now());
    LOOP
        BEGIN
            SELECT * INTO v_task FROM taskflow.find_task(retry_task.id);
            IF NOT FOUND THEN
                RETURN NULL;
            ELSIF v_task.state IN ('pending', 'retrying', 'running', 'blocked') THEN
                RAISE EXCEPTION 'task % is %: only a task that has ended can be retried', v_task.id,
                    taskflow.shown_state(v_task.state, v_task.run_at) USING ERRCODE = 'TF409';
            END IF;
            UPDATE taskflow.tasks t
            SET state = 'pending', key_state = NULL, failures = 0, run_at = v_run_at, finished_at = NULL,
                worker_id = NULL, claimed_at = NULL, started_at = NULL, result = NULL, progress = NULL, progress_message = NULL, cancel_requested = false,
                payload = coalesce(nullif(options -> 'payload', 'null'), t.payload),
                queue = coalesce(options ->> 'queue', t.queue),
                priority = coalesce((options ->> 'priority')::smallint, t.priority),
                updated_at = now(), version = t.version + 1
            WHERE t.id = v_task.id AND t.state = v_task.state AND t.finished_at = v_task.finished_at
            RETURNING t.queue INTO v_queue;
            IF FOUND THEN
                PERFORM taskflow.ring(ARRAY[v_queue]);
                PERFORM taskflow.announce_events('task.submitted', ARRAY[v_task.id]);
                RETURN taskflow.shown_state('pending', v_run_at);
            END IF;
            v_tries := v_tries + 1;
            EXIT WHEN v_tries > 100;
        EXCEPTION
            WHEN serialization_failure OR deadlock_detected THEN
                -- A deadlock with the caller's own transaction would only come again: a second one is told.
                v_tries := v_tries + CASE SQLSTATE WHEN '40P01' THEN 51 ELSE 1 END;
                IF v_tries > 100 OR current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
            WHEN unique_violation THEN
                SELECT t.id INTO v_rival FROM taskflow.tasks_live t
                WHERE t.type = v_task.type AND t.unique_key = v_task.unique_key;
                RAISE EXCEPTION 'task % cannot run again: a live task has its unique key "%"', v_task.id, v_task.unique_key
                    USING ERRCODE = 'TF410', DETAIL = coalesce(v_rival::text, ''),
                          HINT = 'wait for that task to end, or cancel it';
        END;
    END LOOP;
    RAISE EXCEPTION 'task % changed 100 times while it was looked at', retry_task.id USING ERRCODE = '40001', HINT = 'try again';
END $$;
