-- Counts the tasks that ended in the minutes from p_from up to, not including, p_to into task_ends, by queue and state.
-- What has left its state since (retried, removed) is counted too: it stands in task_removals, and what is there now is
-- the one less the other. So a minute may be counted any number of times, and by two at once. Returns the number of rows
-- written.
CREATE OR REPLACE FUNCTION taskflow.roll_up_endings(p_from timestamptz, p_to timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off  -- see roll_up_minutes
SET plan_cache_mode = force_generic_plan  -- planning over all the days anew takes longer than a minute's tasks
SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
    v_from timestamptz := date_trunc('minute', p_from);
    v_to timestamptz := date_trunc('minute', p_to);
    v_rows integer;
BEGIN
    INSERT INTO taskflow.task_ends AS t (minute, queue, state, count)
    SELECT f.minute, f.queue, f.state, sum(f.n)
    FROM (
        SELECT date_bin('1 minute', e.finished_at, '2000-01-01 00:00+00') AS minute, e.queue::text AS queue, e.state,
               count(*) AS n
        FROM taskflow.tasks e
        WHERE e.state IN ('completed', 'cancelled', 'failed') AND e.finished_at >= v_from AND e.finished_at < v_to
        GROUP BY 1, 2, 3
        UNION ALL
        SELECT r.minute, r.queue, r.state, count(*) FROM taskflow.task_removals r
        WHERE r.minute >= v_from AND r.minute < v_to
        GROUP BY 1, 2, 3) AS f
    WHERE NOT EXISTS (SELECT FROM taskflow.task_ends d  -- a day that has been put together is done with
                      WHERE d.whole_day AND d.minute = date_bin('1 day', f.minute, '2000-01-01 00:00+00'))
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3                                            -- one order, or two at once could deadlock
    ON CONFLICT (minute, queue, state, whole_day) DO UPDATE SET count = excluded.count WHERE t.count <> excluded.count;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
$$;
