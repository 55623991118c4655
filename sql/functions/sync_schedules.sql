-- Writes the schedules that a worker's code defines: an array of objects with columns of schedules, one a task type, whose
-- name it has. p_types: the types the worker serves; one of these whose code defines none any more loses its schedule.
-- What an operator has changed stays until the code's own definition is another. Answers what was done: created, changed,
-- removed; taken, where somebody else has made a schedule of that name, which is left as it is.
CREATE OR REPLACE FUNCTION taskflow.sync_schedules(p_schedules jsonb, p_types text[])
RETURNS TABLE (name text, what text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_given record;
BEGIN
    FOR v_given IN
        SELECT e.value AS definition, r.*
        FROM jsonb_array_elements(p_schedules) e,
             LATERAL jsonb_populate_record(NULL::taskflow.schedules, e.value) r
        ORDER BY r.name
    LOOP
        name := v_given.name;
        INSERT INTO taskflow.schedules (
            name, type, queue, priority, cron, "interval", timezone, missed, overlap, jitter, options, definition)
        VALUES (v_given.name, v_given.type, v_given.queue, v_given.priority, v_given.cron, v_given."interval",
                v_given.timezone, v_given.missed, v_given.overlap, v_given.jitter, v_given.options, v_given.definition)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            what := 'created';
            RETURN NEXT;
            CONTINUE;
        END IF;
        UPDATE taskflow.schedules s
        SET type = v_given.type, queue = v_given.queue, priority = v_given.priority, cron = v_given.cron,
            "interval" = v_given."interval", timezone = v_given.timezone, missed = v_given.missed,
            overlap = v_given.overlap, jitter = v_given.jitter, options = v_given.options,
            definition = v_given.definition, next_run_at = NULL, updated_at = now(), version = s.version + 1
        WHERE s.name = v_given.name AND s.definition IS NOT NULL AND s.definition <> v_given.definition;
        IF FOUND THEN
            what := 'changed';
            RETURN NEXT;
        ELSIF EXISTS (SELECT FROM taskflow.schedules s WHERE s.name = v_given.name AND s.definition IS NULL) THEN
            what := 'taken';
            RETURN NEXT;
        END IF;
    END LOOP;
    RETURN QUERY
    WITH removed AS (
        DELETE FROM taskflow.schedules s
        WHERE s.definition IS NOT NULL AND s.definition ->> 'type' = ANY (p_types)
          AND s.name <> ALL (ARRAY(SELECT e.value ->> 'name' FROM jsonb_array_elements(p_schedules) e))
        RETURNING s.name)
    SELECT r.name::text, 'removed' FROM removed r ORDER BY 1;
END $$;
