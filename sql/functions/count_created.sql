-- Adds the tasks that were created since it was last asked to the totals, at most p_limit of them. Returns whether there
-- are more. No insert pays for this: the ids are counted, which grow.
--
-- An id is taken before its row is visible, so the newest are counted only when every transaction of the time in which
-- they were taken has ended: next_id is the last id at next_xid, and that is what is looked for at the next call. A
-- transaction that stays open for two minutes is not waited for, and what it creates after that is missed.
-- A bulk load is so counted at its end, or missed if it takes longer.
CREATE OR REPLACE FUNCTION taskflow.count_created(p_limit integer DEFAULT 500000) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off  -- the primary key of each partition, whatever the statistics say
SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
    v_state taskflow.totals_counted;
    v_last bigint;
BEGIN
    SELECT * INTO v_state FROM taskflow.totals_counted FOR UPDATE;
    IF v_state.next_id IS NULL THEN
        UPDATE taskflow.totals_counted SET
            next_id = coalesce(pg_sequence_last_value('taskflow.tasks_id_seq'), 0),
            next_xid = pg_snapshot_xmax(pg_current_snapshot())::text::bigint, noted_at = now()
        WHERE v_state.task_id < coalesce(pg_sequence_last_value('taskflow.tasks_id_seq'), 0);
        RETURN false;
    END IF;
    IF pg_snapshot_xmin(pg_current_snapshot())::text::bigint < v_state.next_xid
       AND now() - v_state.noted_at < interval '2 minutes' THEN
        RETURN false;
    END IF;
    v_last := least(v_state.next_id, v_state.task_id + p_limit);
    INSERT INTO taskflow.task_totals AS t (queue, type, created)
    SELECT c.queue::text, c.type::text, count(*) FROM taskflow.tasks c
    WHERE c.id > v_state.task_id AND c.id <= v_last
    GROUP BY 1, 2
    ON CONFLICT (queue, type) DO UPDATE SET created = t.created + excluded.created;
    UPDATE taskflow.totals_counted SET task_id = v_last, next_id = CASE WHEN v_last < next_id THEN next_id END;
    RETURN v_last < v_state.next_id;
END
$$;
