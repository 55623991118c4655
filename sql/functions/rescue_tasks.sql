-- Takes the tasks of a dead worker from it, up to p_limit a call; call again until fewer come back. The leader decides
-- who is dead and says what it saw: the worker's heartbeat counter (NULL: there is no such worker any more). If that has
-- changed, the worker lives and nothing happens. Its row goes with the last of its tasks. One that somebody has locked
-- does not hold up the others: it keeps the row, by which the next look finds it.
--
-- The attempt is recorded as lost. What has begun (started_at) is charged as a failure; what may only have been
-- prefetched is not, but will not run beside others again before it has proved harmless (the worker sees to that).
CREATE OR REPLACE FUNCTION taskflow.rescue_tasks(p_worker bigint, p_heartbeat bigint, p_limit integer DEFAULT 500)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_task taskflow.tasks_live;
    v_queues text[] := '{}';
    v_rescued integer := 0;
    v_state taskflow.task_state;
    v_failed bigint[] := '{}';
    v_again bigint[] := '{}';
    v_dead bigint[] := '{}';
    v_cancelled bigint[] := '{}';
    v_key_queues text[] := '{}';
    v_keys text[] := '{}';
BEGIN
    PERFORM FROM taskflow.workers w
    WHERE w.id = p_worker AND (p_heartbeat IS NULL OR w.heartbeat = p_heartbeat) FOR UPDATE;
    IF FOUND <> (p_heartbeat IS NOT NULL) THEN
        RETURN 0;
    END IF;
    FOR v_task IN
        SELECT * FROM taskflow.tasks_live t
        WHERE t.id = ANY (ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c WHERE c.worker_id = p_worker))
          AND t.worker_id = p_worker AND t.state = 'running'
        ORDER BY t.id LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        SELECT e.new_state INTO v_state FROM taskflow.end_attempt(v_task, 'lost', 0, jsonb_build_object(
            'charged', v_task.started_at IS NOT NULL,
            'error', format('worker %s was lost %s', p_worker, CASE WHEN v_task.started_at IS NULL
                THEN 'before the attempt is known to have begun' ELSE 'while it ran the task' END))) e;
        CASE v_state
            WHEN 'cancelled' THEN v_cancelled := v_cancelled || v_task.id;
            WHEN 'pending', 'retrying' THEN v_again := v_again || v_task.id;
            WHEN 'dead_letter' THEN v_dead := v_dead || v_task.id;
            ELSE NULL;
        END CASE;
        IF v_state IN ('retrying', 'dead_letter', 'failed') THEN
            v_failed := v_failed || v_task.id;
        END IF;
        v_rescued := v_rescued + 1;
        IF v_task.concurrency_key IS NOT NULL THEN
            v_key_queues := v_key_queues || v_task.queue::text;
            v_keys := v_keys || v_task.concurrency_key::text;
        END IF;
        IF NOT v_task.queue = ANY (v_queues) THEN
            v_queues := v_queues || v_task.queue::text;
        END IF;
    END LOOP;
    IF v_rescued < p_limit THEN
        PERFORM taskflow.forget_claims(p_worker);
        DELETE FROM taskflow.workers w WHERE w.id = p_worker
            AND NOT EXISTS (SELECT FROM taskflow.claims c WHERE c.worker_id = p_worker);
    END IF;
    PERFORM taskflow.ring(v_queues);
    PERFORM taskflow.release_keys(v_key_queues, v_keys, true);
    PERFORM taskflow.announce_events('task.failed', v_failed);
    PERFORM taskflow.announce_events('task.retrying', v_again);
    PERFORM taskflow.announce_events('task.dead_letter', v_dead);
    PERFORM taskflow.announce_events('task.cancelled', v_cancelled);
    RETURN v_rescued;
END $$;
