-- Creates many tasks at once, all or none: a JSON array of objects with the names of enqueue's parameters and options.
-- Answers a row a task: its index from 0, id, created, state.
--
-- Most say no more than type, payload, queue and priority: then one look at each tells that, and the other columns get
-- their defaults. Ids are given out and returned in the order of the array, since nothing sorts the rows on their way.
-- A default that is a variable of the column's domain is checked once, and not again for every row: a 25th of the time.
-- Others without a unique key go in by one INSERT as well, with ids drawn beforehand, so that index and id belong together.
-- Those with one go through enqueue, in the order of their keys' code points, as clients send them in several statements:
-- two callers with the same keys cannot block each other, whatever the collation of the database.
CREATE OR REPLACE FUNCTION taskflow.enqueue_many(tasks jsonb)
RETURNS TABLE (index integer, id bigint, created boolean, state text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_known constant text[] := ARRAY['type', 'payload', 'queue', 'priority', 'run_at', 'unique_key', 'max_attempts',
        'timeout', 'retry_strategy', 'retry_delay', 'max_retry_delay', 'concurrency_key', 'metadata', 'tags',
        'on_conflict', 'delay', 'unique_for'];
    v_task record;
    v_problem record;
    v_metadata constant taskflow.json_object := '{}';
    v_tags constant taskflow.tag_list := '{}';
    v_key constant taskflow.short_key := NULL;
    v_created_by constant text := session_user;
BEGIN
    IF jsonb_typeof(tasks) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'tasks must be a JSON array of objects' USING ERRCODE = '22023';
    END IF;
    IF NOT EXISTS (
        SELECT FROM jsonb_array_elements(tasks) e
        WHERE CASE jsonb_typeof(e.value) WHEN 'object' THEN e.value - ARRAY['type', 'payload', 'queue', 'priority'] <> '{}'
                   ELSE true END)
    THEN
        RETURN QUERY
        WITH stored AS (
            INSERT INTO taskflow.tasks AS t (type, payload, queue, priority, metadata, tags, unique_key, concurrency_key,
                created_by)
            SELECT g.type, coalesce(g.payload, '{}'), coalesce(g.queue, 'default'), coalesce(g.priority, 1), v_metadata,
                v_tags, v_key, v_key, v_created_by
            FROM jsonb_to_recordset(tasks) AS g (type text, payload jsonb, queue text, priority integer)
            RETURNING t.id)
        SELECT (row_number() OVER ())::integer - 1, s.id, true, 'pending' FROM stored s;
        RETURN;
    END IF;

    -- One pass over all of them; what is wrong with the first wrong one is said afterwards.
    SELECT e.ordinality - 1 AS at, e.value AS task INTO v_problem
    FROM jsonb_array_elements(tasks) WITH ORDINALITY e
    WHERE jsonb_typeof(e.value) <> 'object' OR e.value - v_known <> '{}' LIMIT 1;
    IF FOUND AND jsonb_typeof(v_problem.task) <> 'object' THEN
        RAISE EXCEPTION 'task % is %, not an object', v_problem.at, jsonb_typeof(v_problem.task) USING ERRCODE = '22023';
    ELSIF FOUND THEN
        RAISE EXCEPTION 'task % has unknown fields: %', v_problem.at,
            (SELECT string_agg(k, ', ') FROM jsonb_object_keys(v_problem.task - v_known) k)
            USING ERRCODE = '22023', HINT = 'fields are ' || array_to_string(v_known, ', ');
    END IF;
    IF jsonb_path_exists(tasks, '$[*] ? (@.run_at != null)') THEN
        SELECT e.ordinality - 1 AS at, e.value ->> 'run_at' AS task INTO v_problem
        FROM jsonb_array_elements(tasks) WITH ORDINALITY e WHERE NOT taskflow.is_zoned(e.value ->> 'run_at') LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'task %: run_at "%" is no time with an offset from UTC', v_problem.at, left(v_problem.task, 100)
                USING ERRCODE = '22007', HINT = 'write it like 2030-05-06T07:00:00Z or 2030-05-06T09:00:00+02:00';
        END IF;
    END IF;
    IF jsonb_path_exists(tasks, '$[*] ? (exists (@.delay) || exists (@.on_conflict) || exists (@.unique_for))') THEN
        -- What the INSERT below would not refuse: the other options are columns with rules of their own.
        PERFORM taskflow.check_enqueue_options(
            jsonb_build_object('delay', e.value -> 'delay', 'on_conflict', e.value -> 'on_conflict',
                               'unique_for', e.value -> 'unique_for'))
        FROM jsonb_array_elements(tasks) e WHERE e.value ?| ARRAY['delay', 'on_conflict', 'unique_for'];
        SELECT e.ordinality - 1 AS at INTO v_problem FROM jsonb_array_elements(tasks) WITH ORDINALITY e
        WHERE e.value ->> 'unique_for' IS NOT NULL AND e.value ->> 'unique_key' IS NULL LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'task %: unique_for needs a unique_key', v_problem.at USING ERRCODE = '22023';
        END IF;
    END IF;

    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT g.ordinality - 1 AS at, nextval('taskflow.tasks_id_seq') AS id,
               coalesce(g.run_at, now() + coalesce(g.delay, 0) * interval '1 second') AS run_at,
               g.type, coalesce(g.payload, '{}') AS payload, coalesce(g.queue, 'default') AS queue,
               coalesce(g.priority, 1)::smallint AS priority, g.max_attempts, g.timeout, g.retry_strategy, g.retry_delay,
               g.max_retry_delay, g.concurrency_key, coalesce(g.metadata, '{}') AS metadata, coalesce(g.tags, '{}') AS tags
        FROM ROWS FROM (jsonb_to_recordset(tasks) AS (
                type text, payload jsonb, queue text, priority integer, run_at timestamptz, unique_key text,
                max_attempts integer, timeout double precision, retry_strategy taskflow.retry_strategy,
                retry_delay double precision, max_retry_delay double precision, concurrency_key text, metadata jsonb,
                tags text[], delay double precision))
            WITH ORDINALITY AS g (type, payload, queue, priority, run_at, unique_key, max_attempts, timeout, retry_strategy,
                retry_delay, max_retry_delay, concurrency_key, metadata, tags, delay, ordinality)
        WHERE g.unique_key IS NULL),
    stored AS (
        INSERT INTO taskflow.tasks (id, type, payload, queue, priority, run_at, max_attempts, timeout, retry_strategy,
            retry_delay, max_retry_delay, concurrency_key, metadata, tags)
        OVERRIDING SYSTEM VALUE
        SELECT g.id, g.type, g.payload, g.queue, g.priority, g.run_at, g.max_attempts, g.timeout, g.retry_strategy,
            g.retry_delay, g.max_retry_delay, g.concurrency_key, g.metadata, g.tags
        FROM given g)
    SELECT g.at::integer, g.id, true, CASE WHEN g.run_at > now() THEN 'scheduled' ELSE 'pending' END FROM given g;

    IF NOT jsonb_path_exists(tasks, '$[*] ? (@.unique_key != null)') THEN
        RETURN;
    END IF;
    FOR v_task IN
        SELECT e.ordinality - 1 AS at, e.value AS task FROM jsonb_array_elements(tasks) WITH ORDINALITY e
        WHERE e.value ->> 'unique_key' IS NOT NULL
        ORDER BY (e.value ->> 'type') COLLATE "C", (e.value ->> 'unique_key') COLLATE "C", 1
    LOOP
        RETURN QUERY
        SELECT v_task.at::integer, q.id, q.created, q.state
        FROM taskflow.enqueue(
            v_task.task ->> 'type', nullif(v_task.task -> 'payload', 'null'), v_task.task ->> 'queue',
            (v_task.task ->> 'priority')::integer, (v_task.task ->> 'run_at')::timestamptz,
            v_task.task ->> 'unique_key',
            v_task.task - ARRAY['type', 'payload', 'queue', 'priority', 'run_at', 'unique_key']) q;
    END LOOP;
END $$;
