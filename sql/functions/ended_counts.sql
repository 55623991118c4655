-- How many tasks are completed, cancelled, failed or dead letters, by queue; p_queues NULL: in all queues. Dead letters
-- are counted, in an index; of the others what the leader has counted, some seconds ago: history is not read.
CREATE OR REPLACE FUNCTION taskflow.ended_counts(p_queues text[] DEFAULT NULL)
RETURNS TABLE (queue text, state text, count bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT f.queue, f.state::text, sum(f.n)::bigint
    FROM (
        SELECT t.queue, t.state, t.count AS n FROM taskflow.task_ends t
        WHERE p_queues IS NULL OR t.queue = ANY (p_queues)
        UNION ALL
        SELECT r.queue, r.state, -count(*) FROM taskflow.task_removals r
        WHERE p_queues IS NULL OR r.queue = ANY (p_queues)
        GROUP BY 1, 2
        UNION ALL
        SELECT d.queue::text, 'dead_letter', count(*) FROM taskflow.tasks_dead d
        WHERE p_queues IS NULL OR d.queue = ANY (p_queues)
        GROUP BY 1) AS f
    GROUP BY 1, 2
    HAVING sum(f.n) > 0;
END $$;
