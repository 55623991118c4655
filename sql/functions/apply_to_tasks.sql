-- Cancels, retries or deletes many tasks, each as if it were the only one: 'cancel' what lives, 'retry' and 'delete' what
-- has ended; the rest is left as it is. Returns the ids of those that it did something about. p_options are those of
-- retry_task; p_times, if given, says when each of them is due instead.
CREATE OR REPLACE FUNCTION taskflow.apply_to_tasks(
    p_action text, p_ids bigint[], p_options jsonb DEFAULT '{}', p_times timestamptz[] DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_done bigint[] := '{}';
    v_id bigint;
    v_was_live boolean;
    v_options jsonb := p_options;
BEGIN
    IF p_action NOT IN ('cancel', 'retry', 'delete') THEN
        RAISE EXCEPTION 'action must be cancel, retry or delete, not %', p_action USING ERRCODE = '22023';
    END IF;
    -- In the order of ids, as every statement locks.
    FOR i IN 1 .. cardinality(p_ids) LOOP
        v_id := p_ids[i];
        SELECT NOT t.cancel_requested INTO v_was_live FROM taskflow.tasks_live t WHERE t.id = v_id;
        IF p_action = 'cancel' THEN
            IF v_was_live AND taskflow.cancel(v_id) IN ('cancelled', 'running') THEN
                v_done := v_done || v_id;
            END IF;
            CONTINUE;
        END IF;
        CONTINUE WHEN FOUND;  -- it lives
        BEGIN
            IF p_action = 'retry' THEN
                IF p_times IS NOT NULL THEN
                    v_options := p_options || jsonb_build_object('run_at', p_times[i]);
                END IF;
                IF taskflow.retry_task(v_id, v_options) IS NOT NULL THEN
                    v_done := v_done || v_id;
                END IF;
            ELSIF taskflow.remove_task(v_id) IS NOT NULL THEN
                v_done := v_done || v_id;
            END IF;
        EXCEPTION WHEN SQLSTATE 'TF409' OR SQLSTATE 'TF410' THEN
            CONTINUE;  -- it lives again, or its unique key has been taken: not this one
        END;
    END LOOP;
    RETURN v_done;
END $$;
