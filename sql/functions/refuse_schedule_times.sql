-- For the trigger: what the API refuses, SQL cannot write either. No program could read an infinite time, and so the leader
-- would fire no schedule at all.
CREATE OR REPLACE FUNCTION taskflow.refuse_schedule_times() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'starts_at and ends_at of a schedule must be from 1900 to 2199'
        USING ERRCODE = '22008', HINT = 'NULL stands for no beginning, and for no end';
END $$;
