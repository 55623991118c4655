-- Raises TF503 if more tasks than its max_depth wait (pending, scheduled, retrying) in a queue that has a max_depth of its
-- own, p_tasks of which this statement has just put there. SET LOCAL taskflow.max_depth = off lets them in all the same.
--
-- Up to 1,000 every statement counts: that takes no longer than its INSERT. Above, a reading is good for a second, unless
-- it says that the queue may be full. Who counts keeps the reading for the others, but nobody waits for that: one
-- transaction at a time may write it, the others count for themselves. An INSERT that is refused rolls its reading back;
-- so whoever asks of a full queue counts anew. Serializable transactions are let in: what one counts another inserts, and
-- that alone would make them fail.
CREATE OR REPLACE FUNCTION taskflow.refuse_full(p_queue text, p_tasks integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_now constant timestamptz := clock_timestamp();
    v_most integer := (SELECT q.max_depth FROM taskflow.queues q WHERE q.name = p_queue AND q.max_depth <> 1000000);
    v_depth integer;
BEGIN
    IF v_most IS NULL OR current_setting('taskflow.max_depth', true) = 'off'
       OR current_setting('transaction_isolation') = 'serializable' THEN
        RETURN;
    END IF;
    IF v_most > 1000 AND EXISTS (
        SELECT FROM taskflow.depth_readings r
        WHERE r.queue = p_queue AND r.read_at BETWEEN v_now - interval '1 second' AND v_now AND r.depth + p_tasks <= v_most)
    THEN
        RETURN;
    END IF;
    SELECT count(*) INTO v_depth
    FROM (SELECT FROM taskflow.tasks_live t
          WHERE t.queue = p_queue AND t.state IN ('pending', 'retrying') LIMIT v_most::bigint + 1) AS few;
    IF v_depth > v_most THEN
        RAISE EXCEPTION 'in the queue "%" as many tasks wait as its max_depth allows, %', p_queue, v_most
            USING ERRCODE = 'TF503', HINT = 'try again when workers have taken some, or raise its max_depth';
    END IF;
    -- In stricter isolation writing what somebody else has written since would fail.
    IF v_most > 1000 AND current_setting('transaction_isolation') = 'read committed'
       AND pg_try_advisory_xact_lock(1413567310, hashtext(p_queue)) THEN
        INSERT INTO taskflow.depth_readings AS r (queue, depth, read_at) VALUES (p_queue, v_depth, v_now)
        ON CONFLICT ON CONSTRAINT depth_readings_pkey DO UPDATE SET depth = excluded.depth, read_at = excluded.read_at;
    END IF;
END $$;
REVOKE ALL ON FUNCTION taskflow.refuse_full(text, integer) FROM PUBLIC;
