-- Creates a task, in the caller's transaction, and says which it is: (id, created, state).
--
-- With a unique_key that a live task of the type holds already, no second one is made: on_conflict 'skip' (the default)
-- answers with the one there is and created = false; 'error' raises TF410 with its id as DETAIL; 'replace' gives the
-- waiting one the new payload, priority and time, unless another login has created it and this one is no more than a
-- producer (42501). options: max_attempts, timeout, retry_strategy, retry_delay,
-- max_retry_delay, concurrency_key, metadata, tags, delay (seconds, instead of run_at), on_conflict, unique_for.
--
-- unique_for: for so many seconds from now the key stays taken, also when the task has ended; not when it was removed. A
-- row of unique_windows stands for that, and belongs to who makes or takes over an expired one. What ended is not replaced.
--
-- ON CONFLICT names no target: the unique index is on the live partition, and inserting there would skip the wake-up.
-- What it refuses is looked up; where that has ended in between, the insert is tried again.
CREATE OR REPLACE FUNCTION taskflow.enqueue(
    type text, payload jsonb DEFAULT '{}', queue text DEFAULT NULL, priority integer DEFAULT NULL,
    run_at timestamptz DEFAULT NULL, unique_key text DEFAULT NULL, options jsonb DEFAULT '{}')
RETURNS TABLE (id bigint, created boolean, state text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    v_known constant text[] := ARRAY['max_attempts', 'timeout', 'retry_strategy', 'retry_delay', 'max_retry_delay',
        'concurrency_key', 'metadata', 'tags', 'on_conflict', 'delay', 'unique_for'];
    v_queue text := coalesce(enqueue.queue, 'default');
    v_priority smallint := coalesce(enqueue.priority, 1);
    v_run_at timestamptz := coalesce(enqueue.run_at, now());
    v_payload jsonb := coalesce(enqueue.payload, '{}');
    v_on_conflict text := 'skip';
    v_unique_for interval;
    v_id bigint;
    v_new bigint;
    v_taken boolean;
    v_their_run_at timestamptz;
    v_state taskflow.task_state;
    v_replaced_queue text;
    v_may_change boolean := false;
    v_key text;
BEGIN
    IF options = '{}' OR options IS NULL THEN
        IF enqueue.unique_key IS NULL THEN
            INSERT INTO taskflow.tasks AS t (type, payload, queue, priority, run_at)
            VALUES (enqueue.type, v_payload, v_queue, v_priority, v_run_at)
            RETURNING t.id INTO id;
            created := true;
            state := CASE WHEN v_run_at > now() THEN 'scheduled' ELSE 'pending' END;
            RETURN NEXT;
            RETURN;
        END IF;
    ELSE
        v_on_conflict := coalesce(options ->> 'on_conflict', 'skip');
        IF jsonb_typeof(options) <> 'object' OR options - v_known <> '{}' OR jsonb_typeof(options -> 'tags') NOT IN ('array', 'null')
           OR v_on_conflict NOT IN ('skip', 'error', 'replace')
           OR (options ->> 'delay')::double precision NOT BETWEEN 0 AND 3155760000 OR options ? 'unique_for' THEN
            PERFORM taskflow.check_enqueue_options(options);  -- says what is wrong
        END IF;
        v_unique_for := (options ->> 'unique_for')::double precision * interval '1 second';
        IF v_unique_for IS NOT NULL AND enqueue.unique_key IS NULL THEN
            RAISE EXCEPTION 'unique_for needs a unique_key' USING ERRCODE = '22023';
        END IF;
        IF options ->> 'delay' IS NOT NULL THEN
            v_run_at := coalesce(enqueue.run_at, now() + (options ->> 'delay')::double precision * interval '1 second');
        END IF;
    END IF;

    IF v_on_conflict = 'replace' THEN
        v_may_change := taskflow.is_operator() OR EXISTS (
            SELECT FROM pg_roles r WHERE r.rolname = 'taskflow_worker' AND pg_has_role(session_user, r.oid, 'MEMBER'));
    END IF;
    FOR i IN 1 .. 100 LOOP
        IF v_on_conflict = 'replace' AND enqueue.unique_key IS NOT NULL THEN
            BEGIN
                UPDATE taskflow.tasks_live t
                SET payload = v_payload, run_at = v_run_at, priority = v_priority, updated_at = now(), version = t.version + 1,
                    state = CASE WHEN t.state = 'blocked' THEN 'pending' ELSE t.state END, key_state = NULL
                WHERE t.type = enqueue.type AND t.unique_key = enqueue.unique_key
                  AND t.state IN ('pending', 'retrying', 'blocked') AND (t.created_by = session_user OR v_may_change)
                RETURNING t.id, t.state, t.queue, t.concurrency_key INTO v_id, v_state, v_replaced_queue, v_key;
            EXCEPTION WHEN serialization_failure THEN
                -- It ended meanwhile, and so moved to another partition. In stricter isolation the caller must begin anew.
                IF current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
                CONTINUE;
            END;
            IF FOUND THEN
                PERFORM taskflow.ring(ARRAY[v_replaced_queue]);
                IF v_key IS NOT NULL THEN
                    PERFORM taskflow.release_keys(ARRAY[v_replaced_queue], ARRAY[v_key], false);
                END IF;
                id := v_id;
                created := false;
                state := taskflow.shown_state(v_state, v_run_at);
                RETURN NEXT;
                RETURN;
            END IF;
        END IF;

        v_taken := false;
        IF enqueue.unique_key IS NOT NULL THEN
            SELECT w.task_id INTO v_id FROM taskflow.unique_windows w
            WHERE w.type = enqueue.type AND w.unique_key = enqueue.unique_key AND w.until > now();
            IF FOUND THEN
                SELECT t.state, t.run_at INTO v_state, v_their_run_at FROM taskflow.find_task(v_id) t;
                IF NOT FOUND THEN
                    DELETE FROM taskflow.unique_windows w
                    WHERE w.type = enqueue.type AND w.unique_key = enqueue.unique_key AND w.task_id = v_id;
                    CONTINUE;
                END IF;
                v_taken := true;
            ELSIF v_unique_for IS NOT NULL THEN
                SELECT t.id, t.state, t.run_at INTO v_id, v_state, v_their_run_at FROM taskflow.tasks_live t
                WHERE t.type = enqueue.type AND t.unique_key = enqueue.unique_key;
                v_taken := FOUND;
            END IF;
        END IF;

        IF NOT v_taken THEN
            v_new := nextval('taskflow.tasks_id_seq');
            IF v_unique_for IS NOT NULL THEN
                INSERT INTO taskflow.unique_windows AS w (type, unique_key, task_id, until)
                VALUES (enqueue.type, enqueue.unique_key, v_new, now() + v_unique_for)
                ON CONFLICT ON CONSTRAINT unique_windows_pkey DO UPDATE SET task_id = excluded.task_id, until = excluded.until
                WHERE w.until <= now();
                CONTINUE WHEN NOT FOUND;  -- somebody else has just made one
            END IF;
            INSERT INTO taskflow.tasks AS t (
                id, type, payload, queue, priority, run_at, unique_key, concurrency_key, metadata, tags, max_attempts, timeout,
                retry_strategy, retry_delay, max_retry_delay)
            OVERRIDING SYSTEM VALUE
            VALUES (
                v_new, enqueue.type, v_payload, v_queue, v_priority, v_run_at, enqueue.unique_key,
                options ->> 'concurrency_key', coalesce(nullif(options -> 'metadata', 'null'), '{}'),
                CASE WHEN jsonb_typeof(options -> 'tags') = 'array'
                     THEN ARRAY(SELECT jsonb_array_elements_text(options -> 'tags')) ELSE '{}' END,
                (options ->> 'max_attempts')::integer, (options ->> 'timeout')::double precision,
                (options ->> 'retry_strategy')::taskflow.retry_strategy, (options ->> 'retry_delay')::double precision,
                (options ->> 'max_retry_delay')::double precision)
            ON CONFLICT DO NOTHING
            RETURNING t.id INTO v_id;
            IF FOUND THEN
                id := v_id;
                created := true;
                state := CASE WHEN v_run_at > now() THEN 'scheduled' ELSE 'pending' END;
                RETURN NEXT;
                RETURN;
            END IF;
            IF v_unique_for IS NOT NULL THEN
                DELETE FROM taskflow.unique_windows w
                WHERE w.type = enqueue.type AND w.unique_key = enqueue.unique_key AND w.task_id = v_new;
            END IF;
            SELECT t.id, t.state, t.run_at INTO v_id, v_state, v_their_run_at FROM taskflow.tasks_live t
            WHERE t.type = enqueue.type AND t.unique_key = enqueue.unique_key;
            v_taken := FOUND;
        END IF;

        IF v_taken THEN
            IF v_on_conflict = 'error' THEN
                RAISE EXCEPTION 'a task of type "%" has the unique key "%" already', enqueue.type, enqueue.unique_key
                    USING ERRCODE = 'TF410', DETAIL = v_id,
                          HINT = 'on_conflict skip answers with that task, replace changes it while it waits';
            ELSIF v_on_conflict = 'replace' AND NOT v_may_change AND EXISTS (
                SELECT FROM taskflow.tasks_live t
                WHERE t.id = v_id AND t.state IN ('pending', 'retrying', 'blocked') AND t.created_by <> session_user) THEN
                RAISE EXCEPTION 'task % waits with the unique key "%": another login has created it, and yours may not replace it',
                    v_id, enqueue.unique_key USING ERRCODE = '42501', DETAIL = v_id,
                    HINT = 'share a login with that service, or take on_conflict skip, which answers with that task';
            END IF;
            id := v_id;
            created := false;
            state := taskflow.shown_state(v_state, v_their_run_at);
            RETURN NEXT;
            RETURN;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'the task with the unique key "%" changed hands 100 times while it was looked at', enqueue.unique_key
        USING ERRCODE = '40001', HINT = 'try again';
END $$;
