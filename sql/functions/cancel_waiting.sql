-- Cancels what waits (also what is scheduled, retries later or is blocked) in queues, at a priority, NULL: in all, at
-- every: a batch of up to p_limit tasks after the task p_after, in the order of ids. Returns how many, and the last id: go
-- on after that until it is NULL. In one pass over the primary key: to begin at the first one again and again would walk
-- over the dead index entries of all that were cancelled before. What somebody has locked is being claimed, and stays.
-- What waited behind them for their concurrency keys and is not cancelled may go, as with `cancel`.
CREATE OR REPLACE FUNCTION taskflow.cancel_waiting(
    p_queues text[], p_priority integer, p_after bigint, p_limit integer DEFAULT 2000,
    OUT cancelled integer, OUT last_id bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off
AS $$
DECLARE
    v_ids bigint[];
    v_cancelled bigint[];
    v_queues text[];
    v_keys text[];
    v_tries integer := 0;
BEGIN
    LOOP
        BEGIN
            v_ids := ARRAY(
                SELECT t.id FROM taskflow.tasks_live t
                WHERE t.id > p_after AND t.state IN ('pending', 'retrying', 'blocked')
                  AND (p_queues IS NULL OR t.queue = ANY (p_queues)) AND (p_priority IS NULL OR t.priority = p_priority)
                ORDER BY t.id LIMIT p_limit FOR UPDATE SKIP LOCKED);
            WITH done AS (
                UPDATE taskflow.tasks t
                SET state = 'cancelled', key_state = NULL, finished_at = clock_timestamp(), updated_at = now(),
                    version = t.version + 1
                WHERE t.id = ANY (v_ids) AND t.state IN ('pending', 'retrying', 'blocked')
                RETURNING t.id, t.queue, t.concurrency_key)
            SELECT coalesce(array_agg(d.id), '{}'),
                   array_agg(d.queue::text) FILTER (WHERE d.concurrency_key IS NOT NULL),
                   array_agg(d.concurrency_key::text) FILTER (WHERE d.concurrency_key IS NOT NULL)
            INTO v_cancelled, v_queues, v_keys FROM done d;
            IF v_keys IS NOT NULL THEN
                PERFORM taskflow.release_keys(v_queues, v_keys, false);
            END IF;
            PERFORM taskflow.announce_events('task.cancelled', v_cancelled);
            cancelled := cardinality(v_cancelled);
            last_id := v_ids[cardinality(v_ids)];
            RETURN;
        EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
            -- A row moved to another partition meanwhile.
            -- A deadlock with the caller's own transaction would only come again: a second one is told.
            v_tries := v_tries + CASE SQLSTATE WHEN '40P01' THEN 51 ELSE 1 END;
            IF v_tries > 100 OR current_setting('transaction_isolation') <> 'read committed' THEN RAISE; END IF;
        END;
    END LOOP;
END $$;
