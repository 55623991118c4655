-- The limits of its queue that hold a due task back at this moment, as claims would find: `most` tasks may run at once,
-- or start in a period; `next_at`: when the next may, unknown where a running one has to end first.
CREATE OR REPLACE FUNCTION taskflow.waiting_limits(p_id bigint)
RETURNS TABLE (code text, most integer, next_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_task taskflow.tasks;
    v_queue taskflow.queues;
    v_type jsonb;
BEGIN
    SELECT * INTO v_task FROM taskflow.find_task(p_id);
    SELECT * INTO v_queue FROM taskflow.queues q WHERE q.name = v_task.queue;
    v_type := v_queue.type_limits -> v_task.type::text;
    IF (v_type ->> 'paused')::boolean THEN
        RETURN QUERY SELECT 'type_paused', NULL::integer, NULL::timestamptz;
    END IF;
    IF v_task.concurrency_key IS NOT NULL AND coalesce(v_queue.key_limit, 1) <= (
        SELECT count(*) FROM taskflow.tasks_live t
        WHERE t.queue = v_task.queue AND t.concurrency_key = v_task.concurrency_key AND t.key_state = 'running') THEN
        RETURN QUERY SELECT 'key_limit', coalesce(v_queue.key_limit, 1), NULL::timestamptz;
    END IF;
    IF v_queue.max_workers <= (
        SELECT count(*) FROM taskflow.tasks_live t
        WHERE t.id = ANY (ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c WHERE c.queue = v_queue.name))
          AND t.queue = v_queue.name AND t.state = 'running') THEN
        RETURN QUERY SELECT 'max_workers', v_queue.max_workers, NULL::timestamptz;
    END IF;
    RETURN QUERY
    SELECT r.code, r.rate_limit, s.next_at
    FROM (VALUES ('rate_limit', '', v_queue.rate_limit, v_queue.rate_period),
                 ('type_rate_limit', v_task.type::text, (v_type ->> 'rate_limit')::numeric::integer,
                  least(coalesce((v_type ->> 'rate_period')::numeric, 1), 1e9)::double precision))
        r (code, type, rate_limit, period)
    CROSS JOIN LATERAL taskflow.starts_left(v_queue.name, r.type, r.rate_limit, r.period, clock_timestamp()) s
    WHERE r.rate_limit IS NOT NULL AND s.starts = 0;
END $$;
