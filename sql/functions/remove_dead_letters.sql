-- Removes dead letters and their executions; returns how many. What is none any more stays.
CREATE OR REPLACE FUNCTION taskflow.remove_dead_letters(p_ids bigint[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_ids bigint[];
    v_tries integer := 0;
BEGIN
    LOOP
        BEGIN
            PERFORM FROM taskflow.tasks_dead d WHERE d.id = ANY (p_ids) ORDER BY d.id FOR UPDATE;
            WITH gone AS (DELETE FROM taskflow.tasks_dead d WHERE d.id = ANY (p_ids) RETURNING d.id)
            SELECT coalesce(array_agg(g.id), '{}') INTO v_ids FROM gone g;
            DELETE FROM taskflow.executions e WHERE e.task_id = ANY (v_ids);
            DELETE FROM taskflow.executions_kept k WHERE k.task_id = ANY (v_ids);
            RETURN cardinality(v_ids);
        EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
            -- One was retried meanwhile, and so moved to another partition.
            -- A deadlock with the caller's own transaction would only come again: a second one is told.
            v_tries := v_tries + CASE SQLSTATE WHEN '40P01' THEN 51 ELSE 1 END;
            IF v_tries > 100 OR current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
        END;
    END LOOP;
END $$;
