-- Tasks with these concurrency keys (a place of p_queues and p_keys each) have ended, or stand no longer before others:
-- makes as many `blocked` tasks of each claimable as may run now, the first ones, and wakes who sleeps. Which of them
-- starts is decided by the claim, see admit_keyed, so it does no harm to let too many go. Returns the queues in which
-- something of these keys waits: a worker looks there from the bottom, since it waited for longer than others.
--
-- As many of each type: the first may be of one that nobody runs at the moment, which should not stop the others. What is
-- claimable already counts, whichever it is, and is not locked: claims would pass it.
--
-- p_lock: for who has ended a task. A claim that counted it as running holds the lock until what it has blocked can be
-- seen here. All locks are taken in one order, and whoever holds one waits for no task. Others, who may be in a
-- transaction that stays open, do without.
CREATE OR REPLACE FUNCTION taskflow.release_keys(p_queues text[], p_keys text[], p_lock boolean) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    v_key record;
    v_now timestamptz;
    v_room integer;
    v_blocked integer;
    v_type text;
    v_first bigint[];
    v_found bigint[] := '{}';
    v_queues text[] := '{}';
BEGIN
    IF p_lock THEN
        PERFORM pg_advisory_xact_lock(1413567309, o.lock)
        FROM (SELECT DISTINCT hashtext(k.queue || ' ' || k.key) AS lock
              FROM unnest(p_queues, p_keys) AS k (queue, key) ORDER BY 1) o;
    END IF;
    v_now := clock_timestamp();
    FOR v_key IN
        SELECT DISTINCT k.queue, k.key, coalesce(q.key_limit, 1) AS key_limit
        FROM unnest(p_queues, p_keys) AS k (queue, key) LEFT JOIN taskflow.queues q ON q.name = k.queue
    LOOP
        SELECT v_key.key_limit - count(*) INTO v_room FROM taskflow.tasks_live t
        WHERE t.queue = v_key.queue AND t.concurrency_key = v_key.key AND t.key_state = 'running';
        CONTINUE WHEN v_room <= 0;
        v_type := '';
        LOOP
            SELECT t.type INTO v_type FROM taskflow.tasks_live t
            WHERE t.queue = v_key.queue AND t.concurrency_key = v_key.key AND t.type > v_type
              AND t.key_state IS DISTINCT FROM 'running'
            ORDER BY t.type LIMIT 1;
            EXIT WHEN NOT FOUND;
            v_first := taskflow.first_of_key(v_key.queue, v_key.key, ARRAY[v_type], ARRAY[v_room], v_room, v_now);
            CONTINUE WHEN v_first = '{}';
            IF NOT v_key.queue = ANY (v_queues) THEN
                v_queues := v_queues || v_key.queue;
            END IF;
            SELECT count(*) INTO v_blocked FROM taskflow.tasks_live t
            WHERE t.id = ANY (v_first) AND t.state = 'blocked';
            CONTINUE WHEN v_blocked = 0;
            v_first := ARRAY(
                SELECT t.id FROM taskflow.tasks_live t WHERE t.id = ANY (v_first) AND t.state = 'blocked'
                FOR UPDATE SKIP LOCKED);
            IF cardinality(v_first) < v_blocked THEN
                -- Somebody is about to change it: that should not stop the others.
                v_first := taskflow.first_of_key(
                    v_key.queue, v_key.key, ARRAY[v_type], ARRAY[v_room + 100], v_room + 100, v_now);
                v_first := ARRAY(
                    SELECT t.id FROM taskflow.tasks_live t WHERE t.id = ANY (v_first) AND t.state = 'blocked'
                    ORDER BY t.priority DESC, t.run_at, t.id LIMIT v_blocked FOR UPDATE SKIP LOCKED);
            END IF;
            v_found := v_found || v_first;
        END LOOP;
    END LOOP;
    IF cardinality(v_found) > 0 THEN
        UPDATE taskflow.tasks_live t
        SET state = 'pending', key_state = NULL, updated_at = now(), version = t.version + 1
        WHERE t.id = ANY (v_found);
    END IF;
    PERFORM taskflow.ring(v_queues);
    RETURN v_queues;
END $$;
