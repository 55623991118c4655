-- Of tasks with a concurrency key that a claim has met in a queue and locked: which to claim instead. Of a key no more may
-- run at once than the queue's key_limit; and its tasks start in order, so it may be others than those met, which waited
-- before them: as many of each type, since those the worker can run. What was met and must wait is `blocked` from now on,
-- outside the index of claims, until release_keys lets it go.
--
-- A key is counted under its lock: class 1413567309, object hashtext(queue || ' ' || key). Who ends a task of the key takes
-- it as well, so that nothing is blocked by what has just ended. It is only tried, since a claim has other keys and other
-- tasks: refused, the tasks stay as they are, for the next claim. The lock and what is counted under it are statements of
-- their own, each with a snapshot that sees the claim before.
--
-- Another claim may have met the first task of a key, and has tried the key's lock in vain: it is about to let go of the
-- row, and is waited for, or the order would be lost. Only by who was refused no lock itself: two that were might wait for
-- each other.
--
-- passed: how many of p_ids are claimable no more, unless by being claimed.
CREATE OR REPLACE FUNCTION taskflow.admit_keyed(
    p_queue text, p_ids bigint[], p_now timestamptz, OUT admitted bigint[], OUT passed integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    v_limit integer;
    v_key record;
    v_room integer;
    v_next bigint[];
    v_first bigint[];
    v_locked text[] := '{}';
    v_refused boolean := false;
    v_patient boolean := true;
    v_blocked bigint[] := '{}';
BEGIN
    admitted := '{}';
    SELECT q.key_limit INTO v_limit FROM taskflow.queues q WHERE q.name = p_queue;
    v_limit := coalesce(v_limit, 1);
    FOR v_key IN
        SELECT DISTINCT t.concurrency_key::text AS key FROM taskflow.tasks_live t WHERE t.id = ANY (p_ids) ORDER BY 1
    LOOP
        IF pg_try_advisory_xact_lock(1413567309, hashtext(p_queue || ' ' || v_key.key)) THEN
            v_locked := v_locked || v_key.key;
        ELSE
            v_refused := true;
        END IF;
    END LOOP;
    FOR v_key IN
        SELECT g.key, array_agg(g.type) AS types, array_agg(g.met) AS met, sum(g.met)::integer AS wanted
        FROM (SELECT t.concurrency_key::text AS key, t.type::text AS type, count(*)::integer AS met
              FROM taskflow.tasks_live t WHERE t.id = ANY (p_ids) AND t.concurrency_key = ANY (v_locked) GROUP BY 1, 2) g
        GROUP BY g.key ORDER BY g.key
    LOOP
        SELECT least(v_key.wanted, v_limit - count(*)) INTO v_room FROM taskflow.tasks_live t
        WHERE t.queue = p_queue AND t.concurrency_key = v_key.key AND t.key_state = 'running';
        v_first := '{}';
        IF v_room > 0 THEN
            v_next := taskflow.first_of_key(p_queue, v_key.key, v_key.types, v_key.met, v_room, p_now);
            v_first := ARRAY(
                SELECT t.id FROM taskflow.tasks_live t WHERE t.id = ANY (v_next) AND t.worker_id IS NULL FOR UPDATE SKIP LOCKED);
            IF cardinality(v_first) < cardinality(v_next) THEN
                CONTINUE WHEN v_refused;
                IF v_patient THEN
                    BEGIN
                        v_first := taskflow.wait_for_tasks(v_next);
                    EXCEPTION WHEN lock_not_available THEN
                        v_patient := false;
                    END;
                END IF;
                -- Somebody is about to change it in an open transaction: that is no reason to wait.
                IF NOT v_patient THEN
                    v_next := taskflow.first_of_key(
                        p_queue, v_key.key, v_key.types, array_fill(v_room + 100, ARRAY[cardinality(v_key.types)]),
                        v_room + 100, p_now);
                    v_first := ARRAY(
                        SELECT t.id FROM taskflow.tasks_live t WHERE t.id = ANY (v_next) AND t.worker_id IS NULL
                        ORDER BY t.priority DESC, t.run_at, t.id LIMIT v_room FOR UPDATE SKIP LOCKED);
                END IF;
            END IF;
            admitted := admitted || v_first;
        END IF;
        -- While there is room, what is not claimed now stays claimable.
        IF cardinality(v_first) >= v_room AND v_room < v_key.wanted THEN
            v_blocked := v_blocked || ARRAY(
                SELECT t.id FROM taskflow.tasks_live t
                WHERE t.id = ANY (p_ids) AND t.concurrency_key = v_key.key AND t.id <> ALL (v_first));
        END IF;
    END LOOP;
    IF cardinality(v_blocked) > 0 THEN
        UPDATE taskflow.tasks_live t
        SET state = 'blocked', key_state = 'blocked', updated_at = now(), version = t.version + 1
        WHERE t.id = ANY (v_blocked);
    END IF;
    passed := cardinality(v_blocked) + (SELECT count(*) FROM unnest(p_ids) i WHERE i = ANY (admitted));
END $$;
