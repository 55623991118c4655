-- Removes tasks of a queue that ended in a state from p_from on and before p_until, with their executions: a batch, the
-- oldest first. Returns how many; fewer than p_limit means that none is left there, but for those that somebody has locked.
CREATE OR REPLACE FUNCTION taskflow.forget_ended(
    p_queue text, p_state text, p_from timestamptz, p_until timestamptz, p_limit integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET lock_timeout = '1s'
AS $$
DECLARE
    v_state taskflow.task_state := p_state;
    v_ids bigint[];
    v_since timestamptz;
BEGIN
    CASE v_state
        WHEN 'completed' THEN
            WITH gone AS (
                DELETE FROM taskflow.tasks_completed t
                WHERE t.finished_at >= p_from AND t.finished_at < p_until AND t.id = ANY (ARRAY(
                    SELECT c.id FROM taskflow.tasks_completed c
                    WHERE c.finished_at >= p_from AND c.finished_at < p_until AND c.queue = p_queue
                    ORDER BY c.finished_at LIMIT p_limit FOR UPDATE SKIP LOCKED))
                RETURNING t.id, t.created_at)
            SELECT array_agg(g.id), min(g.created_at) INTO v_ids, v_since FROM gone g;
        WHEN 'failed', 'cancelled' THEN
            WITH gone AS (
                DELETE FROM taskflow.tasks_ended t
                WHERE t.finished_at >= p_from AND t.finished_at < p_until AND t.id = ANY (ARRAY(
                    SELECT c.id FROM taskflow.tasks_ended c
                    WHERE c.finished_at >= p_from AND c.finished_at < p_until AND c.queue = p_queue AND c.state = v_state
                    ORDER BY c.finished_at LIMIT p_limit FOR UPDATE SKIP LOCKED))
                RETURNING t.id, t.created_at)
            SELECT array_agg(g.id), min(g.created_at) INTO v_ids, v_since FROM gone g;
        WHEN 'dead_letter' THEN
            WITH gone AS (
                DELETE FROM taskflow.tasks_dead t
                WHERE t.id = ANY (ARRAY(
                    SELECT c.id FROM taskflow.tasks_dead c
                    WHERE c.finished_at >= p_from AND c.finished_at < p_until AND c.queue = p_queue
                    ORDER BY c.finished_at LIMIT p_limit FOR UPDATE SKIP LOCKED))
                RETURNING t.id, t.created_at)
            SELECT array_agg(g.id), min(g.created_at) INTO v_ids, v_since FROM gone g;
    END CASE;
    -- The days in which they may lie, or every one there is would be asked. Clocks jump.
    DELETE FROM taskflow.executions e
    WHERE e.task_id = ANY (v_ids) AND e.finished_at >= v_since - interval '1 day' AND e.finished_at <= now() + interval '1 day';
    DELETE FROM taskflow.executions_kept k WHERE k.task_id = ANY (v_ids);
    RETURN coalesce(cardinality(v_ids), 0);
END $$;
