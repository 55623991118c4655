-- Keeps the figures of task_ends few, and true to the days that there are; for the leader, when it has counted all until
-- now. What belongs to a day that retention has dropped goes, with what was noted of removals from it. Of the days before
-- yesterday the minutes become one row a queue and state, and what was removed is deducted from that.
CREATE OR REPLACE FUNCTION taskflow.fold_endings() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
AS $$
DECLARE
    v_folded timestamptz := date_trunc('day', now()) - interval '1 day';
    v_kept record;
BEGIN
    -- Two at once would deduct the same removals twice.
    PERFORM pg_advisory_xact_lock(hashtextextended('taskflow.fold_endings', 0));

    FOR v_kept IN SELECT d.states, min(d.day)::timestamptz AS since FROM taskflow.ended_days() d GROUP BY d.states LOOP
        DELETE FROM taskflow.task_ends t WHERE t.state::text = ANY (v_kept.states) AND t.minute < v_kept.since;
        DELETE FROM taskflow.task_removals r WHERE r.state::text = ANY (v_kept.states) AND r.minute < v_kept.since;
    END LOOP;

    WITH minutes AS (DELETE FROM taskflow.task_ends t WHERE t.minute < v_folded AND NOT t.whole_day RETURNING t.*)
    INSERT INTO taskflow.task_ends AS t (minute, queue, state, whole_day, count)
    SELECT date_trunc('day', m.minute), m.queue, m.state, true, sum(m.count) FROM minutes m GROUP BY 1, 2, 3
    ON CONFLICT (minute, queue, state, whole_day) DO UPDATE SET count = t.count + excluded.count;

    WITH removals AS (DELETE FROM taskflow.task_removals r WHERE r.minute < v_folded RETURNING r.*)
    UPDATE taskflow.task_ends t SET count = t.count - d.n
    FROM (SELECT date_trunc('day', r.minute) AS day, r.queue, r.state, count(*) AS n FROM removals r GROUP BY 1, 2, 3) AS d
    WHERE t.minute = d.day AND t.queue = d.queue AND t.state = d.state AND t.whole_day;
END
$$;
