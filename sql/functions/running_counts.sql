-- How many tasks run, by queue and priority, and how many of those have a run_at that is ahead, as after a clock was set back;
-- p_queues NULL: in all queues. Exact, at the moment of the call.
CREATE OR REPLACE FUNCTION taskflow.running_counts(p_queues text[] DEFAULT NULL)
RETURNS TABLE (queue text, priority smallint, count bigint, ahead bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT t.queue::text, t.priority, count(*), count(*) FILTER (WHERE t.run_at > statement_timestamp())
    FROM taskflow.tasks_live t
    WHERE t.id = ANY (ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c))
      AND t.state = 'running' AND (p_queues IS NULL OR t.queue = ANY (p_queues))
    GROUP BY 1, 2
$$;
