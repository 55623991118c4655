-- Changes a task that waits: p_changes has payload, queue, priority, run_at, metadata, tags; what it does not name stays;
-- run_at null: it is due now.
-- outcome: 'changed'; 'missing'; 'other_version', where p_version is given and it has another; 'wrong_state', where it does
-- not wait. state: as people see it, afterwards.
CREATE OR REPLACE FUNCTION taskflow.change_task(
    p_id bigint, p_changes jsonb, p_version integer DEFAULT NULL, OUT outcome text, OUT state text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    v_task taskflow.tasks;
    v_queue text;
    v_tries integer := 0;
BEGIN
    LOOP
        BEGIN
            SELECT * INTO v_task FROM taskflow.tasks_live t WHERE t.id = p_id FOR UPDATE;
            IF NOT FOUND THEN
                SELECT * INTO v_task FROM taskflow.find_task(p_id);
                -- Back among the live ones, between the two: look again.
                CONTINUE WHEN v_task.state IN ('pending', 'retrying', 'blocked', 'running');
            END IF;
            state := taskflow.shown_state(v_task.state, v_task.run_at);
            IF v_task.id IS NULL THEN
                outcome := 'missing';
            ELSIF p_version IS NOT NULL AND v_task.version <> p_version THEN
                outcome := 'other_version';
            ELSIF v_task.state NOT IN ('pending', 'retrying', 'blocked') THEN
                outcome := 'wrong_state';
            ELSE
                outcome := 'changed';
                IF p_changes <> '{}' THEN
                    UPDATE taskflow.tasks_live t
                    SET payload = coalesce(p_changes -> 'payload', t.payload),
                        metadata = coalesce(p_changes -> 'metadata', t.metadata),
                        tags = CASE WHEN p_changes ? 'tags'
                                    THEN ARRAY(SELECT jsonb_array_elements_text(p_changes -> 'tags')) ELSE t.tags END,
                        queue = coalesce(p_changes ->> 'queue', t.queue),
                        priority = coalesce((p_changes ->> 'priority')::smallint, t.priority),
                        run_at = CASE WHEN p_changes ? 'run_at'
                                      THEN coalesce((p_changes ->> 'run_at')::timestamptz, now()) ELSE t.run_at END,
                        -- Claims look at it again.
                        state = CASE WHEN t.state = 'blocked' THEN 'pending' ELSE t.state END, key_state = NULL,
                        updated_at = now(), version = t.version + 1
                    WHERE t.id = p_id
                    RETURNING t.queue, taskflow.shown_state(t.state, t.run_at) INTO v_queue, state;
                    PERFORM taskflow.ring(ARRAY[v_queue]);  -- a sleeper must know the new time
                    IF v_task.concurrency_key IS NOT NULL THEN
                        PERFORM taskflow.release_keys(ARRAY[v_task.queue::text], ARRAY[v_task.concurrency_key::text], false);
                    END IF;
                END IF;
            END IF;
            RETURN;
        EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
            -- It moved to another partition meanwhile. In stricter isolation the caller must begin anew.
            -- A deadlock with the caller's own transaction would only come again: a second one is told.
            v_tries := v_tries + CASE SQLSTATE WHEN '40P01' THEN 51 ELSE 1 END;
            IF v_tries > 100 OR current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
        END;
    END LOOP;
END $$;
