-- Claims from one queue that has a limit (max_workers, rate_limit, type_limits) or lets its tasks rise (aging_seconds), as
-- claim_tasks does from the others: at most p_free tasks, for which there are slots, and up to p_wanted where the limit
-- is far. What is claimed and waits in one process could run in another, and a start counts when it is claimed.
--
-- All claims from such a queue go one after the other, by an advisory lock: class 1413567308, object hashtext(queue). The
-- lock and what is counted under it are statements of their own, each with a snapshot that sees the claim before. A claim
-- is a transaction alone, which the server ends also when its worker does not: nobody keeps the lock.
--
-- max_workers: what runs is counted from the tasks themselves, so that whatever ends one, a rescue too, makes room. They
-- are found by the claims from this queue, which say so in `queue`. p_floor, which this function answers as `floor`, is the
-- first claim of which anything runs: those before it are not looked at again. As long as all that was claimed since is below
-- half of the limit, it is not looked what of that still runs. What was claimed before max_workers was set, or is being
-- claimed at that moment, is recorded as claimed from this queue: by all claims in the minute after the first one (the limit may
-- have been set long ago, in a transaction that has just been committed), and by the next after that minute. limited_at is in the
-- far future before, then the time of the first claim, and 1970 when all is done.
--
-- The last row has no id. Its `held_seconds` says for how long a limit holds back what is left; 'infinity': until a task of
-- the queue ends; NULL: none does. Its `room` says how many more may run, NULL: any number. Who has ended a task and does
-- not take the next itself calls ring_waiting.
CREATE OR REPLACE FUNCTION taskflow.claim_limited(
    p_worker bigint, p_queue text, p_types text[], p_free integer, p_wanted integer,
    p_after_run_at timestamptz[], p_after_id bigint[], p_floor bigint, p_options jsonb DEFAULT '{}')
RETURNS TABLE (id bigint, attempt integer, type text, queue text, priority smallint, run_at timestamptz,
               payload jsonb, metadata jsonb, timeout double precision, losses integer,
               floor bigint, held_seconds double precision, room integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off
SET lock_timeout = '1s'
AS $$
DECLARE
    v_queue taskflow.queues;
    v_now timestamptz;
    v_claim bigint;
    v_floor bigint := p_floor;
    v_since bigint[];  -- what was claimed since then
    v_left integer;
    v_room integer := p_wanted;
    v_aging interval := interval '0';
    v_starts_left integer;
    v_next_at timestamptz;
    v_held_until timestamptz;
    v_types text[] := p_types;
    v_capped text[] := '{}';   -- the types with a limit of their own that may start: how many, and how many have
    v_caps integer[] := '{}';
    v_started integer[] := '{}';
    v_cap integer;
    v_limit record;
    v_ids bigint[];
    v_kept bigint[];
    v_keyed bigint[];
    v_again boolean;
    v_looks integer := 0;
    v_left_of_caps integer[];
    v_task record;
    v_place integer;
    v_total integer := 0;
    v_claimed bigint[] := '{}';
BEGIN
    IF p_options ->> 'commit' = 'async' THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    PERFORM pg_advisory_xact_lock(1413567308, hashtext(p_queue));
    SELECT q.* INTO v_queue FROM taskflow.queues q WHERE q.name = p_queue;
    v_now := clock_timestamp();
    IF v_queue.paused THEN
        v_room := 0;
    END IF;

    IF v_queue.max_workers IS NOT NULL THEN
        IF v_queue.limited_at > 'epoch' THEN
            IF EXISTS (SELECT FROM taskflow.claims c WHERE c.queue IS NULL) THEN
                INSERT INTO taskflow.claims (worker_id, queue, task_ids)
                SELECT u.worker_id, p_queue, array_agg(u.id ORDER BY u.id)
                FROM (
                    SELECT t.worker_id, t.id FROM taskflow.tasks_live t
                    WHERE t.id = ANY (ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c WHERE c.queue IS NULL))
                      AND t.state = 'running' AND t.queue = p_queue
                    EXCEPT
                    SELECT c.worker_id, unnest(c.task_ids) FROM taskflow.claims c
                    WHERE c.queue = p_queue AND c.id >= p_floor) u
                GROUP BY u.worker_id;
            END IF;
            PERFORM FROM taskflow.queues q
            WHERE q.name = p_queue AND (q.limited_at > v_now OR q.limited_at < v_now - interval '1 minute')
            FOR UPDATE SKIP LOCKED;
            IF FOUND THEN
                UPDATE taskflow.queues q
                SET limited_at = CASE WHEN q.limited_at > v_now THEN v_now ELSE 'epoch' END
                WHERE q.name = p_queue AND q.limited_at = v_queue.limited_at;
            END IF;
        END IF;
        v_since := ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c WHERE c.queue = p_queue AND c.id >= p_floor);
        IF cardinality(v_since) + p_wanted < v_queue.max_workers / 2 THEN
            v_left := v_queue.max_workers - cardinality(v_since);
        ELSE
            SELECT v_queue.max_workers - count(*) INTO v_left
            FROM taskflow.tasks_live t
            WHERE t.id = ANY (v_since) AND t.state = 'running' AND t.queue = p_queue;
            SELECT c.id INTO v_floor FROM taskflow.claims c
            WHERE c.queue = p_queue AND c.id >= p_floor AND EXISTS (
                SELECT FROM taskflow.tasks_live t
                WHERE t.id = ANY (c.task_ids) AND t.state = 'running' AND t.queue = p_queue)
            ORDER BY c.id LIMIT 1;
            v_floor := coalesce(v_floor, p_floor);
            -- One task that runs for long keeps the floor where it is, and all that is claimed after it would be gone
            -- through until the workers' heartbeats remove what has ended.
            IF cardinality(v_since) > 4 * v_queue.max_workers + 500 THEN
                DELETE FROM taskflow.claims c WHERE c.id = ANY (ARRAY(
                    SELECT o.id FROM taskflow.claims o
                    WHERE o.queue = p_queue AND o.id >= p_floor AND NOT EXISTS (
                        SELECT FROM taskflow.tasks_live t
                        WHERE t.id = ANY (o.task_ids) AND t.state = 'running')
                    FOR UPDATE SKIP LOCKED));
            END IF;
        END IF;
        v_room := least(v_room, greatest(p_free, v_left - v_queue.max_workers / 2), v_left);
        IF v_left <= 0 THEN
            v_held_until := 'infinity';
        END IF;
    END IF;

    IF v_queue.rate_limit IS NOT NULL THEN
        SELECT s.starts, s.next_at INTO v_starts_left, v_next_at
        FROM taskflow.starts_left(p_queue, '', v_queue.rate_limit, v_queue.rate_period, v_now) s;
        v_room := least(v_room, greatest(p_free, v_starts_left - v_queue.rate_limit / 2), v_starts_left);
        IF v_starts_left <= 0 THEN
            v_held_until := greatest(v_held_until, v_next_at);
        END IF;
    END IF;

    IF v_room > 0 AND v_queue.type_limits <> '{}' THEN
        FOR v_limit IN
            SELECT l.key AS type, (l.value ->> 'rate_limit')::numeric::integer AS rate_limit,
                   least(coalesce((l.value ->> 'rate_period')::numeric, 1), 1e9)::double precision AS rate_period,
                   coalesce((l.value ->> 'paused')::boolean, false) AS paused
            FROM jsonb_each(v_queue.type_limits) l WHERE l.key = ANY (p_types)
        LOOP
            IF v_limit.paused THEN
                v_types := array_remove(v_types, v_limit.type);
            ELSIF v_limit.rate_limit IS NOT NULL THEN
                SELECT s.starts, s.next_at INTO v_starts_left, v_next_at
                FROM taskflow.starts_left(p_queue, v_limit.type, v_limit.rate_limit, v_limit.rate_period, v_now) s;
                v_cap := least(v_starts_left, greatest(p_free, v_starts_left - v_limit.rate_limit / 2));
                IF v_cap > 0 THEN
                    v_capped := v_capped || v_limit.type;
                    v_caps := v_caps || v_cap;
                    v_started := v_started || 0;
                ELSE
                    v_types := array_remove(v_types, v_limit.type);
                END IF;
                IF v_starts_left <= 0 THEN
                    v_held_until := least(v_held_until, v_next_at);
                END IF;
            END IF;
        END LOOP;
    END IF;

    IF v_queue.aging_seconds IS NOT NULL THEN
        v_aging := least(v_queue.aging_seconds, 1e9) * interval '1 second';
    END IF;
    -- Later than the end of whatever made room: not the time of the transaction, which began before it had the lock.
    v_now := clock_timestamp();
    -- A task counts as one priority higher for each aging_seconds that it has been due.
    FOR v_level IN REVERSE 3 .. 0 LOOP
        FOR v_priority IN REVERSE v_level .. CASE WHEN v_queue.aging_seconds IS NULL THEN v_level ELSE 0 END LOOP
            WHILE v_room > 0 AND cardinality(v_types) > 0 LOOP
                v_ids := ARRAY(
                    SELECT c.id
                    FROM taskflow.tasks_live c
                    WHERE c.queue = p_queue AND c.priority = v_priority
                      AND (c.run_at, c.id) > (p_after_run_at[v_priority + 1], p_after_id[v_priority + 1])
                      AND c.run_at <= v_now - (v_level - v_priority) * v_aging
                      AND c.state IN ('pending', 'retrying') AND c.key_state IS DISTINCT FROM 'blocked'
                      AND c.type = ANY (v_types)
                    ORDER BY c.run_at, c.id
                    LIMIT v_room
                    FOR UPDATE SKIP LOCKED);
                v_kept := v_ids;
                IF cardinality(v_capped) > 0 THEN
                    v_kept := '{}';
                    v_left_of_caps := v_caps;
                    FOR v_task IN SELECT * FROM taskflow.types_of(v_ids) LOOP
                        v_place := array_position(v_capped, v_task.type);
                        IF v_place IS NOT NULL THEN
                            CONTINUE WHEN v_left_of_caps[v_place] = 0;
                            v_left_of_caps[v_place] := v_left_of_caps[v_place] - 1;
                        END IF;
                        v_kept := v_kept || v_task.id;
                    END LOOP;
                END IF;
                v_again := cardinality(v_kept) < cardinality(v_ids);
                v_keyed := ARRAY(SELECT t.id FROM taskflow.tasks_live t WHERE t.id = ANY (v_kept) AND t.concurrency_key IS NOT NULL);
                IF cardinality(v_keyed) > 0 THEN
                    SELECT ARRAY(SELECT k FROM unnest(v_kept) k WHERE k <> ALL (v_keyed)) || a.admitted,
                           a.passed = cardinality(v_keyed) AND v_looks < 10
                    INTO v_kept, v_again
                    FROM taskflow.admit_keyed(p_queue, v_keyed, v_now) a;
                    v_looks := v_looks + 1;
                    v_now := clock_timestamp();
                END IF;
                IF cardinality(v_capped) > 0 THEN
                    FOR v_task IN SELECT * FROM taskflow.types_of(v_kept) LOOP
                        v_place := array_position(v_capped, v_task.type);
                        CONTINUE WHEN v_place IS NULL;
                        v_caps[v_place] := v_caps[v_place] - 1;
                        v_started[v_place] := v_started[v_place] + 1;
                        IF v_caps[v_place] = 0 THEN
                            v_types := array_remove(v_types, v_task.type);
                        END IF;
                    END LOOP;
                END IF;
                RETURN QUERY
                UPDATE taskflow.tasks_live t
                SET state = 'running', attempt = t.attempt + 1, worker_id = p_worker, claimed_at = v_now, started_at = NULL,
                    updated_at = now(), version = t.version + 1, progress = NULL, progress_message = NULL,
                    key_state = CASE WHEN t.concurrency_key IS NOT NULL THEN 'running'::taskflow.task_state END
                WHERE t.id = ANY (v_kept)
                RETURNING t.id, t.attempt, t.type::text, t.queue::text, t.priority, t.run_at,
                          t.payload::jsonb, nullif(t.metadata::jsonb, '{}'), t.timeout, t.losses, NULL::bigint,
                          NULL::double precision, NULL::integer;
                v_claimed := v_claimed || v_kept;
                v_room := v_room - cardinality(v_kept);
                v_total := v_total + cardinality(v_kept);
                -- Once more only where types or keys at their limit stood before others.
                EXIT WHEN NOT v_again;
            END LOOP;
        END LOOP;
    END LOOP;

    IF v_total > 0 THEN
        INSERT INTO taskflow.claims (worker_id, queue, task_ids)
        VALUES (p_worker, CASE WHEN v_queue.max_workers IS NOT NULL THEN p_queue END, v_claimed)
        RETURNING claims.id INTO v_claim;
        IF v_left = v_queue.max_workers THEN
            v_floor := v_claim;
        END IF;
    END IF;
    IF v_total > 0 AND v_queue.rate_limit IS NOT NULL THEN
        PERFORM taskflow.count_starts(p_queue, '', v_queue.rate_period, v_now, v_total);
    END IF;
    FOR v_place IN 1 .. cardinality(v_capped) LOOP
        IF v_started[v_place] > 0 THEN
            PERFORM taskflow.count_starts(p_queue, v_capped[v_place], least(coalesce(
                (v_queue.type_limits -> v_capped[v_place] ->> 'rate_period')::numeric, 1), 1e9)::double precision,
                v_now, v_started[v_place]);
        END IF;
    END LOOP;
    RETURN QUERY SELECT NULL::bigint, NULL::integer, NULL::text, NULL::text, NULL::smallint, NULL::timestamptz, NULL::jsonb,
        NULL::jsonb, NULL::double precision, NULL::integer, v_floor,
        CASE WHEN v_total = 0 AND v_held_until = 'infinity' THEN 'infinity'::double precision
             WHEN v_total = 0 THEN greatest(0, extract(epoch FROM v_held_until - v_now))::double precision END,
        greatest(0, v_left - v_total);
END $$;
