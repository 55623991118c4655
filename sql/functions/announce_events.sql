-- Something has happened to these tasks that no worker will tell of: an operator cancelled them, a rescuer took them.
-- Nothing is notified here, since this is the transaction of the tasks; who listens finds it in event_outbox.
-- As the tasks are now: they may be removed in the same transaction. Costs a look at an empty table while nobody does.
CREATE OR REPLACE FUNCTION taskflow.announce_events(p_event text, p_tasks bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    IF cardinality(p_tasks) > 0 AND EXISTS (
        SELECT FROM taskflow.event_listeners l WHERE l.until > clock_timestamp() AND p_event = ANY (l.events)) THEN
        INSERT INTO taskflow.event_outbox (event, tasks)
        SELECT p_event, jsonb_agg(jsonb_build_object(
            'id', t.id, 'type', t.type, 'queue', t.queue, 'priority', t.priority,
            'state', taskflow.shown_state(t.state, t.run_at), 'attempt', t.attempt, 'worker_id', t.worker_id,
            'run_at', t.run_at, 'error', left(t.error, 2000)) ORDER BY u.place)
        FROM unnest(p_tasks) WITH ORDINALITY AS u (task_id, place), taskflow.find_task(u.task_id) t
        HAVING count(*) > 0;
    END IF;
END $$;
