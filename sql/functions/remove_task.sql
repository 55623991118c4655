-- Removes a task that has ended, with its executions; with p_waiting also one that waits, which is cancelled before.
-- Returns the state it was in; NULL if there is no such task. Raises TF409 while it runs, or waits and p_waiting is false.
CREATE OR REPLACE FUNCTION taskflow.remove_task(p_id bigint, p_waiting boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_task taskflow.tasks;
    v_state text;
    v_tries integer := 0;
BEGIN
    LOOP
        BEGIN
            SELECT * INTO v_task FROM taskflow.tasks_live t WHERE t.id = p_id FOR UPDATE;
            IF FOUND THEN
                v_state := taskflow.shown_state(v_task.state, v_task.run_at);
                IF v_task.state = 'running' OR NOT p_waiting THEN
                    RAISE EXCEPTION 'task % is %: only a task that has ended% can be removed', p_id, v_state,
                        CASE WHEN p_waiting THEN ' or waits' ELSE '' END
                        USING ERRCODE = 'TF409', HINT = 'cancel it before';
                END IF;
                PERFORM taskflow.cancel(p_id);
            END IF;
            SELECT * INTO v_task FROM taskflow.find_task(p_id);
            IF NOT FOUND THEN
                RETURN v_state;  -- somebody else has just removed it, or there was none
            END IF;
            DELETE FROM taskflow.tasks t
            WHERE t.id = p_id AND t.state = v_task.state AND t.finished_at = v_task.finished_at;
            IF FOUND THEN
                DELETE FROM taskflow.executions e WHERE e.task_id = p_id;
                DELETE FROM taskflow.executions_kept k WHERE k.task_id = p_id;
                RETURN coalesce(v_state, v_task.state::text);
            END IF;
            v_tries := v_tries + 1;  -- retried meanwhile
            EXIT WHEN v_tries > 100;
        EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
            -- A deadlock with the caller's own transaction would only come again: a second one is told.
            v_tries := v_tries + CASE SQLSTATE WHEN '40P01' THEN 51 ELSE 1 END;
            IF v_tries > 100 OR current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
        END;
    END LOOP;
    RAISE EXCEPTION 'task % changed 100 times while it was looked at', p_id USING ERRCODE = '40001', HINT = 'try again';
END $$;
