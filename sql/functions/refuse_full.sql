-- Raises TF503 if more tasks than its max_depth, and that is at most 10,000, wait (pending, scheduled, retrying) in a queue,
-- this statement's own included. SET LOCAL taskflow.max_depth = off lets them in all the same.
--
-- Every statement counts, for two to four milliseconds where 10,000 wait, and one more for 5,000 that run; nothing is kept, so
-- nobody waits for anybody.
-- Larger limits are for the REST API, which counts once a second for all. Serializable transactions are let in: what one counts another
-- inserts, and that alone would make them fail.
CREATE OR REPLACE FUNCTION taskflow.refuse_full(p_queue text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_most integer := (SELECT q.max_depth FROM taskflow.queues q WHERE q.name = p_queue AND q.max_depth <= 10000);
BEGIN
    IF v_most IS NULL OR lower(current_setting('taskflow.max_depth', true)) IN ('off', 'false', 'no', '0')
       OR current_setting('transaction_isolation') = 'serializable' THEN
        RETURN;
    END IF;
    PERFORM FROM taskflow.tasks_live t
    WHERE t.queue = p_queue AND t.state IN ('pending', 'retrying') AND t.key_state IS DISTINCT FROM 'blocked'
    OFFSET v_most LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the queue "%" is full: as many tasks wait as its max_depth allows, %', p_queue, v_most
            USING ERRCODE = 'TF503', HINT = 'try again when workers have taken some, or raise its max_depth';
    END IF;
END $$;
