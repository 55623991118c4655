-- Makes the daily partitions (UTC) of finished tasks and of executions, from yesterday (a clock may be set back) to
-- p_days ahead, and attaches those that exist alone. Returns how many were made or attached; normally 0, and then it
-- has locked nothing. May run any number of times at once, also inside a completion that found no day for its rows.
--
-- CREATE + ATTACH and not CREATE ... PARTITION OF, which locks the parent against everybody: ATTACH takes SHARE UPDATE
-- EXCLUSIVE on the parent, beside which claims and completions go on, and ACCESS EXCLUSIVE only on the new table, which
-- nobody knows yet. It also makes the indexes that the parent has. An empty table needs no CHECK to spare the scan.
CREATE OR REPLACE FUNCTION taskflow.ensure_days(p_days integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_today   date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    v_parent  text;
    v_day     date;
    v_name    text;
    v_locked  boolean := false;
    v_made    integer := 0;
BEGIN
    IF p_days IS NULL OR p_days NOT BETWEEN 0 AND 366 THEN
        RAISE EXCEPTION 'days must be between 0 and 366, not %', coalesce(p_days::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH v_parent IN ARRAY ARRAY['tasks_completed', 'tasks_ended', 'executions'] LOOP
        FOR v_day IN SELECT v_today + n FROM generate_series(-1, p_days) AS n LOOP
            v_name := format('%s_%s', v_parent, to_char(v_day, 'YYYYMMDD'));
            -- Null: it does not exist, or is not attached. Asks the catalog as it is, not as an old snapshot has it.
            CONTINUE WHEN pg_partition_root(to_regclass('taskflow.' || v_name)) IS NOT NULL;
            IF NOT v_locked THEN
                -- Taken late, so that nobody waits here for a caller that keeps its transaction open in vain.
                PERFORM pg_advisory_xact_lock(hashtextextended('taskflow.ensure_days', 0));
                v_locked := true;
                CONTINUE WHEN pg_partition_root(to_regclass('taskflow.' || v_name)) IS NOT NULL;
            END IF;
            BEGIN
                IF to_regclass('taskflow.' || v_name) IS NULL THEN
                    -- Not the identity: a table with one of its own cannot be attached.
                    EXECUTE format(
                        'CREATE TABLE taskflow.%I (LIKE taskflow.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
                        ' INCLUDING STORAGE INCLUDING COMPRESSION%s)',
                        v_name, v_parent, CASE WHEN v_parent <> 'executions' THEN ', PRIMARY KEY (id)' ELSE '' END);
                END IF;
                EXECUTE format('ALTER TABLE taskflow.%I ATTACH PARTITION taskflow.%I FOR VALUES FROM (%L) TO (%L)',
                               v_parent, v_name, to_char(v_day, 'YYYY-MM-DD 00:00:00+00'),
                               to_char(v_day + 1, 'YYYY-MM-DD 00:00:00+00'));
                v_made := v_made + 1;
            EXCEPTION
                -- One day that cannot be had (a range that somebody covered by hand, a stray table of another shape)
                -- must not cost the others.
                WHEN duplicate_table OR wrong_object_type OR invalid_object_definition OR datatype_mismatch
                     OR check_violation THEN
                    RAISE WARNING 'the partition taskflow.% could not be attached: %', v_name, SQLERRM
                        USING HINT = 'Move the rows of that table elsewhere and drop it.';
            END;
        END LOOP;
    END LOOP;
    RETURN v_made;
END
$$;
