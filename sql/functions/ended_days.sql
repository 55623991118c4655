-- The days of ended tasks that there are: the table of each, its day (UTC), and the states whose tasks it holds.
CREATE OR REPLACE FUNCTION taskflow.ended_days() RETURNS TABLE (name text, day date, states text[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.relname::text, to_date(right(c.relname, 8), 'YYYYMMDD'),
           CASE i.inhparent WHEN 'taskflow.tasks_completed'::regclass THEN ARRAY['completed'] ELSE ARRAY['cancelled', 'failed'] END
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent IN ('taskflow.tasks_completed'::regclass, 'taskflow.tasks_ended'::regclass)
      AND NOT i.inhdetachpending AND c.relname ~ '_[0-9]{8}$'
$$;
