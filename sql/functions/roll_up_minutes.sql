-- Counts the executions that finished in the minutes from p_from up to, not including, p_to into task_stats. A minute is
-- counted from the start each time, so it may be done again and by two at once; what was there is replaced. Returns the
-- number of rows written. A queue that is counted for the first time in a minute gets a row if it has none: where its
-- tasks end as soon as they come, adopt_queues finds none waiting, and operators should find it all the same.
-- The duration is that of the attempt, from its start to its end, never below 0.
CREATE OR REPLACE FUNCTION taskflow.roll_up_minutes(p_from timestamptz, p_to timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- Days are seldom analyzed while they fill; whatever the statistics say, the BRIN index must find the minute.
SET enable_seqscan = off
-- This is nothing to take the other cores from the tasks for.
SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
    v_rows integer;
BEGIN
    WITH measured AS (
        -- date_bin and date_part: a third of the time of date_trunc and of extract, which computes in numeric.
        SELECT date_bin('1 minute', e.finished_at, '2000-01-01 00:00+00') AS minute, e.queue, e.type, e.outcome, e.finished_at,
               e.next_state,
               greatest(date_part('epoch', e.finished_at - e.started_at), 0) AS seconds
        FROM taskflow.executions e
        WHERE e.finished_at >= date_trunc('minute', p_from) AND e.finished_at < date_trunc('minute', p_to)
    ), bucketed AS (
        SELECT m.minute, m.queue, m.type, m.outcome, taskflow.duration_bucket(m.seconds) AS bucket, count(*) AS n,
               sum(m.seconds) AS seconds, max(m.finished_at) AS last,
               count(*) FILTER (WHERE m.next_state = 'retrying') AS retried,
               count(*) FILTER (WHERE m.next_state = 'dead_letter') AS dead_lettered
        FROM measured m
        GROUP BY 1, 2, 3, 4, 5
    ), summed AS (
        SELECT b.minute, b.queue, b.type, b.outcome, sum(b.n)::bigint AS n, sum(b.seconds) AS seconds,
               array_agg(b.bucket) AS buckets, array_agg(b.n) AS counts, max(b.last) AS last,
               sum(b.retried) AS retried, sum(b.dead_lettered) AS dead_lettered
        FROM bucketed b
        GROUP BY 1, 2, 3, 4
    ), written AS (
        INSERT INTO taskflow.task_stats AS t
            (minute, queue, type, outcome, count, duration_seconds, duration_buckets, last_finished_at, retried, dead_lettered)
        SELECT s.minute, s.queue, s.type, s.outcome, s.n, s.seconds,
               ARRAY(SELECT coalesce(s.counts[array_position(s.buckets, i)], 0) FROM generate_series(1, 23) AS i ORDER BY i), s.last,
               s.retried, s.dead_lettered
        FROM summed s
        ORDER BY 1, 2, 3, 4                                         -- one order, or two at once could deadlock
        ON CONFLICT (minute, queue, type, outcome) DO UPDATE
            SET count = excluded.count, duration_seconds = excluded.duration_seconds,
                duration_buckets = excluded.duration_buckets, last_finished_at = excluded.last_finished_at,
                retried = excluded.retried, dead_lettered = excluded.dead_lettered
            WHERE (t.count, t.duration_seconds, t.duration_buckets)
                  IS DISTINCT FROM (excluded.count, excluded.duration_seconds, excluded.duration_buckets)
        RETURNING t.queue, t.xmax = 0 AS is_new
    ), adopted AS (
        INSERT INTO taskflow.queues (name)
        SELECT DISTINCT w.queue FROM written w
        WHERE w.is_new AND NOT EXISTS (SELECT FROM taskflow.queues q WHERE q.name = w.queue)
        ORDER BY 1
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) INTO v_rows FROM written;
    RETURN v_rows;
END
$$;
