-- Cancels a task and says which state it is in afterwards; NULL if there is no such task. What waits is cancelled at
-- once; what runs is asked to stop and stays "running" until its worker has seen to it; what has ended stays as it is.
-- A producer reaches only what it created: the rest does not exist for it.
CREATE OR REPLACE FUNCTION taskflow.cancel(id bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_tries integer := 0;
    v_state text;
    v_everything boolean := taskflow.is_operator();
    v_queue text;
    v_key text;
BEGIN
    LOOP
        BEGIN
            UPDATE taskflow.tasks t
            SET state = 'cancelled', key_state = NULL, finished_at = clock_timestamp(), updated_at = now(),
                version = t.version + 1
            WHERE t.id = cancel.id AND t.state IN ('pending', 'retrying', 'blocked')
              AND (v_everything OR t.created_by = session_user)
            RETURNING t.queue, t.concurrency_key INTO v_queue, v_key;
            IF FOUND THEN
                IF v_key IS NOT NULL THEN
                    PERFORM taskflow.release_keys(ARRAY[v_queue], ARRAY[v_key], false);
                END IF;
                PERFORM taskflow.announce_events('task.cancelled', ARRAY[cancel.id]);
                RETURN 'cancelled';
            END IF;

            UPDATE taskflow.tasks_live t
            SET cancel_requested = true, updated_at = now(), version = t.version + (NOT t.cancel_requested)::integer
            WHERE t.id = cancel.id AND t.state = 'running' AND (v_everything OR t.created_by = session_user);
            IF FOUND THEN
                PERFORM pg_notify('taskflow_control', json_build_object('cancel', cancel.id)::text);
                RETURN 'running';
            END IF;

            SELECT t.state INTO v_state FROM taskflow.find_task(cancel.id) t
            WHERE v_everything OR t.created_by = session_user;
            -- It may have changed between the statements: from running to waiting.
            IF v_state IS NULL OR v_state NOT IN ('pending', 'retrying', 'blocked', 'running') OR v_tries > 100 THEN
                RETURN v_state;
            END IF;
            v_tries := v_tries + 1;
        EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
            -- The row moved to another partition meanwhile. In stricter isolation the caller must begin anew.
            -- A deadlock with the caller's own transaction would only come again: a second one is told.
            v_tries := v_tries + CASE SQLSTATE WHEN '40P01' THEN 51 ELSE 1 END;
            IF v_tries > 100 OR current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
        END;
    END LOOP;
END $$;
