-- Locks a task, wherever it is, until the transaction ends, and says its version; NULL if there is no such task: what the
-- transaction then does to it, it does to that version.
CREATE OR REPLACE FUNCTION taskflow.lock_task(p_id bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_task taskflow.tasks;
    v_version integer;
    v_tries integer := 0;
BEGIN
    LOOP
        BEGIN
            SELECT t.version INTO v_version FROM taskflow.tasks_live t WHERE t.id = p_id FOR UPDATE;
            IF FOUND THEN
                RETURN v_version;
            END IF;
            SELECT * INTO v_task FROM taskflow.find_task(p_id);
            IF NOT FOUND THEN
                RETURN NULL;
            END IF;
            SELECT t.version INTO v_version FROM taskflow.tasks t
            WHERE t.id = p_id AND t.state = v_task.state AND t.finished_at = v_task.finished_at FOR UPDATE;
            IF FOUND THEN
                RETURN v_version;
            END IF;
            v_tries := v_tries + 1;  -- retried or removed meanwhile
            EXIT WHEN v_tries > 100;
        EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
            -- It moved to another partition meanwhile. In stricter isolation the caller must begin anew.
            -- A deadlock with the caller's own transaction would only come again: a second one is told.
            v_tries := v_tries + CASE SQLSTATE WHEN '40P01' THEN 51 ELSE 1 END;
            IF v_tries > 100 OR current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
        END;
    END LOOP;
    RAISE EXCEPTION 'task % changed 100 times while it was looked at', p_id USING ERRCODE = '40001', HINT = 'try again';
END $$;
