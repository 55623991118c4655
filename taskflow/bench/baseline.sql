-- What `taskflow bench` compares drain with: the least that claims and completes with an audit row, in a schema of its
-- own. No limits, no outcomes, no grants, no bell, and a claim enters the indexes; the partitions are those of the product.
DROP SCHEMA IF EXISTS taskflow_baseline CASCADE;
CREATE SCHEMA taskflow_baseline;
SET search_path = taskflow_baseline;

CREATE TYPE state AS ENUM ('pending', 'running', 'retrying', 'completed', 'dead_letter');

CREATE TABLE tasks (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    run_at      timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz,
    worker_id   bigint,
    state       state NOT NULL DEFAULT 'pending',
    attempt     smallint NOT NULL DEFAULT 0,
    priority    smallint NOT NULL DEFAULT 1,
    queue       text NOT NULL DEFAULT 'default',
    type        text NOT NULL,
    unique_key  text,
    payload     jsonb NOT NULL DEFAULT '{}',
    result      jsonb
) PARTITION BY LIST (state);
CREATE TABLE tasks_live PARTITION OF tasks (PRIMARY KEY (id)) FOR VALUES IN ('pending', 'running', 'retrying')
    WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE tasks_dead PARTITION OF tasks (PRIMARY KEY (id)) FOR VALUES IN ('dead_letter');
CREATE TABLE tasks_completed PARTITION OF tasks FOR VALUES IN ('completed') PARTITION BY RANGE (finished_at);
CREATE INDEX tasks_claim ON tasks_live (queue, priority, run_at, id, type) WHERE state IN ('pending', 'retrying');
CREATE INDEX tasks_worker ON tasks_live (worker_id) WHERE worker_id IS NOT NULL;
CREATE UNIQUE INDEX tasks_unique_key ON tasks_live (type, unique_key) WHERE unique_key IS NOT NULL;

CREATE TABLE executions (
    task_id     bigint NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    worker_id   bigint,
    attempt     smallint NOT NULL,
    outcome     state NOT NULL,
    error       text
) PARTITION BY RANGE (finished_at);
CREATE INDEX executions_task ON executions (task_id, attempt);

DO $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day   date;
BEGIN
    FOR i IN -1..7 LOOP
        day := today + i;
        EXECUTE format('CREATE TABLE tasks_completed_%s PARTITION OF tasks_completed (PRIMARY KEY (id)) '
                       'FOR VALUES FROM (%L) TO (%L)', to_char(day, 'YYYYMMDD'),
                       day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TABLE executions_%s PARTITION OF executions FOR VALUES FROM (%L) TO (%L)',
                       to_char(day, 'YYYYMMDD'),
                       day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    END LOOP;
END $$;

CREATE FUNCTION claim(p_worker bigint, p_queue text, p_types text[], p_limit int)
RETURNS TABLE (id bigint, attempt smallint, type text, payload jsonb, priority smallint, run_at timestamptz)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    wanted  int := p_limit;
    claimed int;
BEGIN
    FOR level IN REVERSE 3..0 LOOP
        RETURN QUERY
        UPDATE taskflow_baseline.tasks_live t
        SET state = 'running', attempt = t.attempt + 1, worker_id = p_worker, started_at = now()
        WHERE t.id = ANY (ARRAY(
            SELECT c.id FROM taskflow_baseline.tasks_live c
            WHERE c.queue = p_queue AND c.priority = level AND c.run_at <= now()
              AND c.state IN ('pending', 'retrying') AND c.type = ANY (p_types)
            ORDER BY c.run_at, c.id LIMIT wanted FOR UPDATE SKIP LOCKED))
        RETURNING t.id, t.attempt, t.type, t.payload, t.priority, t.run_at;
        GET DIAGNOSTICS claimed = ROW_COUNT;
        wanted := wanted - claimed;
        EXIT WHEN wanted <= 0;
    END LOOP;
END $$;

CREATE FUNCTION complete(p_ids bigint[], p_attempts smallint[], p_results jsonb[]) RETURNS int
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    completed int;
BEGIN
    WITH done AS (
        UPDATE taskflow_baseline.tasks t
        SET state = 'completed', finished_at = now(), result = p_results[array_position(p_ids, t.id)]
        WHERE t.id = ANY (p_ids) AND t.state = 'running' AND t.attempt = p_attempts[array_position(p_ids, t.id)]
        RETURNING t.id, t.attempt, t.worker_id, t.started_at)
    INSERT INTO taskflow_baseline.executions (task_id, attempt, worker_id, outcome, started_at, finished_at)
    SELECT done.id, done.attempt, done.worker_id, 'completed', done.started_at, now() FROM done;
    GET DIAGNOSTICS completed = ROW_COUNT;
    RETURN completed;
END $$;
RESET search_path;
