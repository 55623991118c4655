-- Counts the endings of a day that has tasks although nothing was counted of it, the newest first, one a call: somebody
-- has loaded them. Returns that day, NULL if there was none. To be called when all minutes until now have been counted.
CREATE OR REPLACE FUNCTION taskflow.count_forgotten_day() RETURNS date
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
AS $$
DECLARE
    v_day record;
    v_any boolean;
BEGIN
    FOR v_day IN
        SELECT d.name, d.day::timestamptz AS day FROM taskflow.ended_days() d
        WHERE d.day <= now()::date AND NOT EXISTS (
            SELECT FROM taskflow.task_ends t
            WHERE t.minute >= d.day::timestamptz AND t.minute < (d.day + 1)::timestamptz AND t.state::text = ANY (d.states))
        ORDER BY d.day DESC
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM taskflow.%I)', v_day.name) INTO v_any;
        IF v_any AND taskflow.roll_up_endings(v_day.day, v_day.day + interval '1 day') > 0 THEN
            RETURN v_day.day::date;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
