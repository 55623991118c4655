-- Adds the minutes of task_stats before p_until, which must not be counted again, to the totals since ever: counters for
-- monitoring must never fall, while the minutes are dropped after some months. Each minute is added once, however many
-- call this: the row of totals_counted says up to which.
CREATE OR REPLACE FUNCTION taskflow.add_to_totals(p_until timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_from timestamptz;
BEGIN
    SELECT c.minute INTO v_from FROM taskflow.totals_counted c FOR UPDATE;
    IF v_from >= p_until THEN
        RETURN;
    END IF;
    INSERT INTO taskflow.task_totals AS t (queue, type, completed, failed, retried, dead_lettered, rescued)
    SELECT s.queue, s.type,
           coalesce(sum(s.count) FILTER (WHERE s.outcome = 'succeeded'), 0),
           coalesce(sum(s.count) FILTER (WHERE s.outcome IN ('failed', 'timed_out')), 0),
           sum(s.retried), sum(s.dead_lettered),
           coalesce(sum(s.count) FILTER (WHERE s.outcome = 'lost'), 0)
    FROM taskflow.task_stats s
    WHERE s.minute >= v_from AND s.minute < p_until
    GROUP BY 1, 2
    ON CONFLICT (queue, type) DO UPDATE SET
        completed = t.completed + excluded.completed, failed = t.failed + excluded.failed,
        retried = t.retried + excluded.retried, dead_lettered = t.dead_lettered + excluded.dead_lettered,
        rescued = t.rescued + excluded.rescued;
    UPDATE taskflow.totals_counted SET minute = p_until;
END
$$;
