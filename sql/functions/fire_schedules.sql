-- Fires a batch of schedules: for each of p_ids (ascending), and each of its fire times in p_fire_ids and p_fire_at, one
-- task, and what is to be its next fire time ('infinity': none). Answers the schedules it has dealt with; one that is
-- not among them was changed meanwhile (its version, its time, its runs), or is being dealt with by another leader.
--
-- A row of schedule_runs stands for a fire time, and its primary key lets nobody create a second task for it, also when
-- a clock or a next_run_at has been set back. A fire time that overlap = 'skip' leaves out has a row without a task.
-- p_run_at is when the task is due: the fire time with its jitter. p_by_hand: whatever the schedule says.
CREATE OR REPLACE FUNCTION taskflow.fire_schedules(
    p_ids bigint[], p_versions integer[], p_runs bigint[], p_due timestamptz[], p_next timestamptz[],
    p_fire_ids bigint[], p_fire_at timestamptz[], p_run_at timestamptz[], p_by_hand boolean DEFAULT false)
RETURNS TABLE (id bigint, next_run_at timestamptz, run_count bigint, fired integer, skipped integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH locked AS MATERIALIZED (
        SELECT s.* FROM taskflow.schedules s
        WHERE s.id = ANY (p_ids) AND (s.enabled OR p_by_hand)
          AND s.version = p_versions[width_bucket(s.id, p_ids)]
          AND s.run_count = p_runs[width_bucket(s.id, p_ids)]
          AND coalesce(s.next_run_at, 'infinity') = p_due[width_bucket(s.id, p_ids)]
        FOR UPDATE SKIP LOCKED),
    wanted AS MATERIALIZED (
        SELECT s.id, f.fire_at, f.run_at, s.max_runs - s.run_count AS runs_left, s.overlap = 'skip' AS alone,
               row_number() OVER (PARTITION BY s.id ORDER BY f.fire_at) AS place
        FROM ROWS FROM (unnest(p_fire_ids), unnest(p_fire_at), unnest(p_run_at)) AS f (id, fire_at, run_at)
        JOIN locked s ON s.id = f.id),
    -- OFFSET 0: looked up for each of them, and never joined.
    busy AS MATERIALIZED (
        SELECT s.id FROM locked s
        WHERE s.overlap = 'skip' AND NOT p_by_hand
          AND EXISTS (SELECT FROM taskflow.tasks_live t WHERE t.schedule_id = s.id OFFSET 0)),
    recorded AS (
        INSERT INTO taskflow.schedule_runs AS r (schedule_id, fire_at, task_id)
        SELECT w.id, w.fire_at,
               CASE WHEN p_by_hand OR NOT (w.alone AND (w.place > 1 OR w.id IN (SELECT b.id FROM busy b)))
                    THEN nextval('taskflow.tasks_id_seq') END
        FROM wanted w WHERE p_by_hand OR w.runs_left IS NULL OR w.place <= w.runs_left
        ON CONFLICT DO NOTHING
        RETURNING r.schedule_id, r.fire_at, r.task_id),
    created AS (
        INSERT INTO taskflow.tasks (
            id, schedule_id, type, payload, queue, priority, run_at, concurrency_key, metadata, tags, max_attempts, timeout,
            retry_strategy, retry_delay, max_retry_delay)
        OVERRIDING SYSTEM VALUE
        SELECT r.task_id, s.id, s.type, s.payload, s.queue, s.priority, w.run_at,
               s.options ->> 'concurrency_key', coalesce(nullif(s.options -> 'metadata', 'null'), '{}'),
               CASE WHEN jsonb_typeof(s.options -> 'tags') = 'array'
                    THEN ARRAY(SELECT jsonb_array_elements_text(s.options -> 'tags')) ELSE '{}' END,
               (s.options ->> 'max_attempts')::integer, (s.options ->> 'timeout')::double precision,
               (s.options ->> 'retry_strategy')::taskflow.retry_strategy, (s.options ->> 'retry_delay')::double precision,
               (s.options ->> 'max_retry_delay')::double precision
        FROM recorded r
        JOIN wanted w ON w.id = r.schedule_id AND w.fire_at = r.fire_at
        JOIN locked s ON s.id = r.schedule_id
        WHERE r.task_id IS NOT NULL),
    counted AS MATERIALIZED (
        SELECT s.id, count(r.task_id) AS fired, count(*) FILTER (WHERE r.fire_at IS NOT NULL AND r.task_id IS NULL) AS skipped,
               max(r.fire_at) FILTER (WHERE r.task_id IS NOT NULL) AS last_run_at
        FROM locked s LEFT JOIN recorded r ON r.schedule_id = s.id GROUP BY s.id),
    moved AS (
        UPDATE taskflow.schedules s
        SET run_count = s.run_count + c.fired,
            last_run_at = greatest(s.last_run_at, c.last_run_at),
            next_run_at = CASE WHEN s.run_count + c.fired >= s.max_runs THEN NULL
                               ELSE nullif(p_next[width_bucket(s.id, p_ids)], 'infinity') END
        FROM counted c WHERE s.id = ANY (p_ids) AND s.id = c.id
        RETURNING s.id, s.next_run_at, s.run_count, c.fired::integer, c.skipped::integer)
    SELECT m.id, m.next_run_at, m.run_count, m.fired, m.skipped FROM moved m;
END $$;
