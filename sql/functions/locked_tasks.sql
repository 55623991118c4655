-- Which of these live tasks somebody else has locked. Writing about a batch of tasks ends with an error (55P03) when a
-- row has been locked for longer than a moment, by an open transaction that cancels it for one: the worker then asks
-- this, and writes the others. It must not wait itself, for as long as that takes: its heartbeats would stop as well.
CREATE OR REPLACE FUNCTION taskflow.locked_tasks(p_ids bigint[]) RETURNS SETOF bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET lock_timeout = '250ms'
AS $$
    WITH free AS MATERIALIZED (SELECT t.id FROM taskflow.tasks_live t WHERE t.id = ANY (p_ids) FOR UPDATE SKIP LOCKED)
    SELECT t.id FROM taskflow.tasks_live t WHERE t.id = ANY (p_ids) AND t.id <> ALL (ARRAY(SELECT f.id FROM free f))
$$;
