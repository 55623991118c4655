-- Gives claimed tasks back that were never started: claimable at once, nothing charged, no audit row, since nothing ran.
-- The attempt number is used up all the same: it fences, and a number given twice would fence nothing.
-- What else waits for their concurrency keys may go: others may not know the types of these.
-- p_ids must be in ascending order, see complete_tasks.
CREATE OR REPLACE FUNCTION taskflow.release_tasks(p_worker bigint, p_ids bigint[], p_attempts integer[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET lock_timeout = '250ms'  -- see locked_tasks
AS $$
DECLARE
    v_queues text[];
    v_released integer;
    v_cancelled bigint[];
    v_key_queues text[];
    v_keys text[];
BEGIN
    -- Locked first: of a task whose cancellation commits while this waits for its row, one half below would see the row
    -- as it was before and the other as it is now, and neither would touch it. It would stay running for ever.
    PERFORM FROM taskflow.tasks_live t WHERE t.id = ANY (p_ids) ORDER BY t.id FOR UPDATE;
    WITH cancelled AS (
        UPDATE taskflow.tasks t
        SET state = 'cancelled', key_state = NULL, finished_at = clock_timestamp(), updated_at = now(),
            version = t.version + 1
        WHERE t.id = ANY (p_ids) AND t.state = 'running' AND t.worker_id = p_worker AND t.cancel_requested
          AND p_ids[width_bucket(t.id, p_ids)] = t.id AND t.attempt = p_attempts[width_bucket(t.id, p_ids)]
        RETURNING t.id, t.queue, t.concurrency_key)
    , released AS (
        UPDATE taskflow.tasks_live t
        SET state = 'pending', key_state = NULL, worker_id = NULL, claimed_at = NULL, started_at = NULL,
            updated_at = now(), version = t.version + 1
        WHERE t.id = ANY (p_ids) AND t.state = 'running' AND t.worker_id = p_worker AND NOT t.cancel_requested
          AND p_ids[width_bucket(t.id, p_ids)] = t.id AND t.attempt = p_attempts[width_bucket(t.id, p_ids)]
        RETURNING t.queue, t.concurrency_key)
    , keyed AS (
        SELECT c.queue::text, c.concurrency_key::text AS key FROM cancelled c WHERE c.concurrency_key IS NOT NULL
        UNION
        SELECT r.queue::text, r.concurrency_key::text FROM released r WHERE r.concurrency_key IS NOT NULL)
    SELECT count(*), array_agg(DISTINCT r.queue::text), ARRAY(SELECT c.id FROM cancelled c),
           ARRAY(SELECT k.queue FROM keyed k), ARRAY(SELECT k.key FROM keyed k)
    INTO v_released, v_queues, v_cancelled, v_key_queues, v_keys FROM released r;
    PERFORM taskflow.ring(v_queues);
    IF cardinality(v_keys) > 0 THEN
        PERFORM taskflow.release_keys(v_key_queues, v_keys, true);
    END IF;
    PERFORM taskflow.announce_events('task.cancelled', v_cancelled);
    RETURN v_released;
END $$;
