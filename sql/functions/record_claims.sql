-- Records what runs without a claim and corrects key_state, and says how many tasks that concerned: the rescuer finds a worker's
-- tasks by its claims, and who counts a key goes by key_state. Such are tasks that changed at the moment of a migration, by
-- functions of before, or that somebody has set running by hand. It reads every live task, so a leader calls it once.
CREATE OR REPLACE FUNCTION taskflow.record_claims() RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0
AS $$
    WITH unknown AS (
        SELECT t.worker_id, t.id FROM taskflow.tasks_live t WHERE t.state = 'running'
        EXCEPT
        SELECT c.worker_id, unnest(c.task_ids) FROM taskflow.claims c)
    , recorded AS (
        INSERT INTO taskflow.claims (worker_id, task_ids)
        SELECT u.worker_id, array_agg(u.id ORDER BY u.id) FROM unknown u GROUP BY u.worker_id)
    , wrong AS (
        SELECT t.id FROM taskflow.tasks_live t
        WHERE t.key_state IS DISTINCT FROM
              CASE WHEN t.concurrency_key IS NOT NULL AND t.state IN ('running', 'blocked') THEN t.state END
        ORDER BY t.id FOR UPDATE SKIP LOCKED)
    , corrected AS (
        UPDATE taskflow.tasks_live t
        SET key_state = CASE WHEN t.concurrency_key IS NOT NULL AND t.state IN ('running', 'blocked') THEN t.state END
        WHERE t.id = ANY (ARRAY(SELECT w.id FROM wrong w)))
    SELECT count(*) FROM (SELECT u.id FROM unknown u UNION SELECT w.id FROM wrong w) AS concerned
$$;
