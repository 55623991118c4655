-- Records what runs without a claim, or in a queue with max_workers without one from there, and corrects key_state, and says
-- how many tasks that concerned: the rescuer finds a worker's tasks by its claims, who counts what runs of a queue those of
-- the queue, and who counts a key goes by key_state. Such are tasks that changed at the moment of a migration, by
-- functions of before, or that somebody has set running by hand. It reads every live task, so it is called seldom: at
-- the end of a migration, and by a leader that begins. What somebody has locked is about to change, and is left.
CREATE OR REPLACE FUNCTION taskflow.record_claims() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off SET max_parallel_workers_per_gather = 0 SET enable_nestloop = off
AS $$
DECLARE
    v_id bigint;
    v_found bigint[];
BEGIN
    WITH claimed AS (
        SELECT c.worker_id, c.queue, unnest(c.task_ids) AS id FROM taskflow.claims c)
    , unknown AS (
        SELECT t.worker_id, q.name::text AS queue, t.id
        FROM taskflow.tasks_live t LEFT JOIN taskflow.queues q ON q.name = t.queue AND q.max_workers IS NOT NULL
        WHERE t.state = 'running'
        EXCEPT
        SELECT c.worker_id, q.queue, c.id FROM claimed c CROSS JOIN LATERAL (VALUES (NULL), (c.queue)) q (queue))
    , recorded AS (
        INSERT INTO taskflow.claims (worker_id, queue, task_ids)
        SELECT u.worker_id, u.queue, array_agg(u.id ORDER BY u.id) FROM unknown u GROUP BY u.worker_id, u.queue)
    SELECT coalesce(array_agg(u.id), '{}') INTO v_found FROM unknown u;
    FOR v_id IN
        SELECT t.id FROM taskflow.tasks_live t
        WHERE t.key_state IS DISTINCT FROM
              CASE WHEN t.concurrency_key IS NOT NULL AND t.state IN ('running', 'blocked') THEN t.state END
        ORDER BY t.id
    LOOP
        BEGIN
            PERFORM FROM taskflow.tasks_live t WHERE t.id = v_id FOR UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            UPDATE taskflow.tasks_live t
            SET key_state = CASE WHEN t.concurrency_key IS NOT NULL AND t.state IN ('running', 'blocked') THEN t.state END
            WHERE t.id = v_id;
            v_found := v_found || v_id;
        EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
            -- It has ended meanwhile, and so moved to another partition.
            IF current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
        END;
    END LOOP;
    RETURN (SELECT count(DISTINCT f) FROM unnest(v_found) f);
END $$;
