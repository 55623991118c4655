-- Makes dead letters pending again, in the order of their ids; returns how many. What is none any more is passed over,
-- and so is one whose unique key a live task has. options: see retry_task. The first is due p_first_seconds from now, each
-- further one p_step_seconds later, so that a system which has just recovered is not flooded.
CREATE OR REPLACE FUNCTION taskflow.retry_dead_letters(
    p_ids bigint[], p_options jsonb DEFAULT '{}', p_first_seconds double precision DEFAULT 0,
    p_step_seconds double precision DEFAULT 0)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_id bigint;
    v_retried integer := 0;
    v_delay double precision;
BEGIN
    FOR v_id IN SELECT d.id FROM taskflow.tasks_dead d WHERE d.id = ANY (p_ids) ORDER BY d.id LOOP
        v_delay := least(p_first_seconds + v_retried * p_step_seconds, 3155760000);  -- a hundred years
        BEGIN
            IF taskflow.retry_task(v_id, p_options || CASE WHEN v_delay > 0
                THEN jsonb_build_object('run_at', now() + make_interval(secs => v_delay)) ELSE '{}' END) IS NOT NULL THEN
                v_retried := v_retried + 1;
            END IF;
        EXCEPTION WHEN SQLSTATE 'TF409' OR SQLSTATE 'TF410' THEN
            NULL;  -- somebody else was faster, or its unique key is taken
        END;
    END LOOP;
    RETURN v_retried;
END $$;
