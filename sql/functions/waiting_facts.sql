-- What decides whether a task runs: its state, its queue, and the workers that could take it, whose last heartbeat is no
-- older than p_heartbeat_timeout seconds. No row if there is no such task.
CREATE OR REPLACE FUNCTION taskflow.waiting_facts(p_id bigint, p_heartbeat_timeout double precision)
RETURNS TABLE (id bigint, type text, queue text, state text, run_at timestamptz, worker_id bigint, cancel_requested boolean,
               attempt integer, error text, concurrency_key text, queue_paused boolean, workers integer,
               workers_of_queue integer, workers_of_type integer, workers_running integer, free_slots integer,
               ahead integer)
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    v_task taskflow.tasks;
BEGIN
    SELECT * INTO v_task FROM taskflow.find_task(p_id);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH alive AS (
        SELECT w.*, w.queues IS NULL OR v_task.queue::text = ANY (w.queues) AS serves,
               v_task.type::text = ANY (w.types) AS knows
        FROM taskflow.workers w WHERE w.last_heartbeat > now() - make_interval(secs => p_heartbeat_timeout))
    SELECT v_task.id, v_task.type::text, v_task.queue::text, taskflow.shown_state(v_task.state, v_task.run_at), v_task.run_at,
           v_task.worker_id, v_task.cancel_requested, v_task.attempt, v_task.error, v_task.concurrency_key::text,
           coalesce((SELECT q.paused FROM taskflow.queues q WHERE q.name = v_task.queue), false),
           count(*)::integer, (count(*) FILTER (WHERE a.serves))::integer,
           (count(*) FILTER (WHERE a.serves AND a.knows))::integer,
           (count(*) FILTER (WHERE a.serves AND a.knows AND a.state = 'running'))::integer,
           coalesce(sum(greatest(a.concurrency - a.active_tasks, 0))
                    FILTER (WHERE a.serves AND a.knows AND a.state = 'running'), 0)::integer,
           -- Those of its queue that are due and come first; no more than can be counted at once.
           (SELECT count(*)::integer FROM (
                SELECT FROM taskflow.tasks_live t
                WHERE t.queue = v_task.queue AND t.state IN ('pending', 'retrying')
                  AND t.key_state IS DISTINCT FROM 'blocked' AND t.run_at <= statement_timestamp()
                  AND (t.priority > v_task.priority
                       OR t.priority = v_task.priority AND (t.run_at, t.id) < (v_task.run_at, v_task.id))
                LIMIT 1000) AS first)
    FROM alive a;
END $$;
