-- Claims up to p_wanted due tasks for a worker: queue by queue in the order given, in each from critical to low, then by
-- (run_at, id). The rows come in no order: the worker sorts. Nothing from queues with limits, see claim_limited, and nothing
-- from paused ones.
--
-- The shape is what keeps it fast:
-- * Each level (queue and priority) is one range of the index tasks_claim, read in its order, with SKIP LOCKED: no sort.
-- * The ids go through an array: `id = ANY (...)` leaves the planner nothing but the primary key, also when it plans for
--   a table that it believes to be empty. A join was measured to fall from 24,600 to 62 tasks a second then. For the
--   same reason the plan is generic and everything that must never win is switched off.
-- * The frontier (p_after_run_at, p_after_id: a pair a level, at [4 * index of the queue + priority + 1]) is where the
--   worker's last claim ended. As soon as any transaction holds an old snapshot, dead entries pile up at the head of the
--   index, and without it every claim would walk over all of them. A pair, since one bulk insert gives 100,000 rows the
--   same run_at. The worker sweeps from the bottom now and then, for what committed late or is due earlier.
-- * What is claimed keeps its place in every index, and so its page (HOT): nothing that a claim changes is indexed, but for
--   tasks with a concurrency key. So the index has what runs as well, which a claim passes over, and which tasks are whose is
--   told by a row in claims. Measured: a claim costs three tenths less of the server's CPU.
--
-- Metadata without content comes as NULL: most tasks have none, and the worker need not read it.
-- started_at is emptied: a running task without it may only have been prefetched. So is the progress, of an earlier attempt.
-- p_options: {"commit": "async"} commits the claim asynchronously: after a crash of the server a claim may be forgotten,
-- and the task is claimed again. {"most": [3, null]} takes at most so many at that place of p_queues, which may name a queue
-- again further on: so each of several gets its share first, and what one leaves is the others'.
--
-- A task with a concurrency key is claimed only if its key has room, see admit_keyed; if not, it leaves the index of claims,
-- and the level is looked at again, a few times: a claim should not take long.
CREATE OR REPLACE FUNCTION taskflow.claim_tasks(
    p_worker bigint, p_queues text[], p_types text[], p_wanted integer,
    p_after_run_at timestamptz[], p_after_id bigint[], p_options jsonb DEFAULT '{}')
RETURNS TABLE (id bigint, attempt integer, type text, queue text, priority smallint, run_at timestamptz,
               payload jsonb, metadata jsonb, timeout double precision, losses integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off
AS $$
DECLARE
    v_wanted integer := p_wanted;
    v_most integer[];
    v_limit integer;
    v_level integer;
    v_ids bigint[];
    v_keyed bigint[];
    v_met integer;
    v_passed integer;
    v_looks integer := 0;
    v_now timestamptz := now();
    v_claimed bigint[];
BEGIN
    IF p_options ->> 'commit' = 'async' THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    IF p_options ? 'most' THEN
        v_most := ARRAY(SELECT m::integer FROM jsonb_array_elements_text(p_options -> 'most') m);
    END IF;
    <<queues>>
    FOR v_queue IN 1 .. cardinality(p_queues) LOOP
        v_limit := least(v_wanted, v_most[v_queue]);  -- no limit there: v_wanted
        FOR v_priority IN REVERSE 3 .. 0 LOOP
            v_level := 4 * (v_queue - 1) + v_priority + 1;
            LOOP
                SELECT array_agg(c.id) FILTER (WHERE c.concurrency_key IS NULL),
                       array_agg(c.id) FILTER (WHERE c.concurrency_key IS NOT NULL)
                INTO v_ids, v_keyed
                FROM (
                    SELECT c.id, c.concurrency_key
                    FROM taskflow.tasks_live c
                    WHERE c.queue = p_queues[v_queue] AND c.priority = v_priority
                      AND (c.run_at, c.id) > (p_after_run_at[v_level], p_after_id[v_level])
                      AND c.run_at <= now() AND c.state IN ('pending', 'retrying') AND c.key_state IS DISTINCT FROM 'blocked'
                      AND c.type = ANY (p_types)
                    ORDER BY c.run_at, c.id
                    LIMIT v_limit
                    FOR UPDATE SKIP LOCKED) c;
                -- The worker did not know: such queues are claim_limited's, and it will be told in a moment. After the
                -- tasks were seen, so that one which was committed together with its queue's limit does not come before it.
                CONTINUE queues WHEN (v_ids IS NOT NULL OR v_keyed IS NOT NULL) AND EXISTS (
                    SELECT FROM taskflow.queues q
                    WHERE q.name = p_queues[v_queue]
                      AND (q.paused OR q.max_workers IS NOT NULL OR q.rate_limit IS NOT NULL OR q.type_limits <> '{}'));
                v_met := coalesce(cardinality(v_keyed), 0);
                v_passed := 0;
                IF v_met > 0 THEN
                    SELECT a.admitted, a.passed INTO v_keyed, v_passed
                    FROM taskflow.admit_keyed(p_queues[v_queue], v_keyed, now()) a;
                    v_ids := coalesce(v_ids, '{}') || v_keyed;
                    v_now := clock_timestamp();  -- later than the end of whatever made room
                END IF;
                IF v_ids IS NOT NULL THEN
                    RETURN QUERY
                    UPDATE taskflow.tasks_live t
                    SET state = 'running', attempt = t.attempt + 1, worker_id = p_worker, claimed_at = v_now,
                        started_at = NULL, updated_at = now(), version = t.version + 1,
                        progress = NULL, progress_message = NULL,
                        key_state = CASE WHEN t.concurrency_key IS NOT NULL THEN 'running'::taskflow.task_state END
                    WHERE t.id = ANY (v_ids)
                    RETURNING t.id, t.attempt, t.type::text, t.queue::text, t.priority, t.run_at,
                              t.payload::jsonb, nullif(t.metadata::jsonb, '{}'), t.timeout, t.losses;
                    v_claimed := v_claimed || v_ids;
                    v_wanted := v_wanted - cardinality(v_ids);
                    v_limit := v_limit - cardinality(v_ids);
                END IF;
                v_looks := v_looks + (v_met > 0)::integer;
                EXIT WHEN v_limit <= 0 OR v_met = 0 OR v_passed < v_met OR v_looks > 10;
            END LOOP;
            EXIT queues WHEN v_wanted <= 0;
            EXIT WHEN v_limit <= 0;
        END LOOP;
    END LOOP;
    IF cardinality(v_claimed) > 0 THEN
        INSERT INTO taskflow.claims (worker_id, task_ids) VALUES (p_worker, v_claimed);
    END IF;
END $$;
