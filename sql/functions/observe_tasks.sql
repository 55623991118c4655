-- What has happened to tasks without a worker: those that were created, with an id between p_low[i] and p_high[i], and
-- those of event_outbox, which is emptied. At most p_limit rows of each range, in the order of their ids.
--
-- Creating a task tells nobody (see ring), so new ones are looked for, by the ids that were not there before. They may
-- have ended already: then it was a moment ago, and only the youngest days are looked at.
CREATE OR REPLACE FUNCTION taskflow.observe_tasks(p_low bigint[], p_high bigint[], p_limit integer)
RETURNS TABLE (event text, id bigint, type text, queue text, priority smallint, state text, attempt integer,
               worker_id bigint, run_at timestamptz, error text, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_sort = off  -- or the days would be read in the order of finishing
AS $$
DECLARE
    v_recently timestamptz := now() - interval '5 minutes';
    v_soon timestamptz := now() + interval '1 day';
    v_last bigint := coalesce(pg_sequence_last_value(pg_get_serial_sequence('taskflow.tasks', 'id')::regclass), 0);
BEGIN
    FOR i IN 1 .. cardinality(p_low) LOOP
        CONTINUE WHEN p_low[i] > v_last;  -- the usual case, and it spares a look at all the days
        RETURN QUERY
        SELECT NULL::text, n.id, n.type, n.queue, n.priority, n.state, n.attempt, NULL::bigint, n.run_at, NULL::text,
               n.created_at
        FROM (
            -- Not shown_state(): what was inserted while this statement began is due, by the clock alone.
            (SELECT t.id, t.type::text, t.queue::text, t.priority,
                    CASE WHEN t.state = 'pending' AND t.run_at > clock_timestamp() THEN 'scheduled'
                         ELSE t.state::text END AS state,
                    t.attempt, t.run_at, t.created_at
             FROM taskflow.tasks_live t WHERE t.id BETWEEN p_low[i] AND p_high[i] ORDER BY t.id LIMIT p_limit)
            UNION ALL
            (SELECT t.id, t.type::text, t.queue::text, t.priority, t.state::text, t.attempt, t.run_at, t.created_at
             FROM taskflow.tasks_completed t
             WHERE t.id BETWEEN p_low[i] AND p_high[i] AND t.finished_at BETWEEN v_recently AND v_soon
             ORDER BY t.id LIMIT p_limit)
            UNION ALL
            (SELECT t.id, t.type::text, t.queue::text, t.priority, t.state::text, t.attempt, t.run_at, t.created_at
             FROM taskflow.tasks_ended t
             WHERE t.id BETWEEN p_low[i] AND p_high[i] AND t.finished_at BETWEEN v_recently AND v_soon
             ORDER BY t.id LIMIT p_limit)
            UNION ALL
            (SELECT t.id, t.type::text, t.queue::text, t.priority, t.state::text, t.attempt, t.run_at, t.created_at
             FROM taskflow.tasks_dead t WHERE t.id BETWEEN p_low[i] AND p_high[i] ORDER BY t.id LIMIT p_limit)
        ) n
        ORDER BY n.id LIMIT p_limit;
    END LOOP;
    RETURN QUERY
    WITH taken AS (DELETE FROM taskflow.event_outbox o RETURNING o.id, o.event, o.tasks, o.at)
    SELECT o.event, t.id, t.type, t.queue, t.priority, t.state, t.attempt, t.worker_id, t.run_at, t.error, o.at
    FROM taken o
    CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(o.tasks) AS (
        id bigint, type text, queue text, priority smallint, state text, attempt integer, worker_id bigint,
        run_at timestamptz, error text)) WITH ORDINALITY AS t (
        id, type, queue, priority, state, attempt, worker_id, run_at, error, place)
    ORDER BY o.id, t.place;
END $$;
