-- A task has left the ended ones (retried, removed): noted, for the figures (see roll_up_endings). Appended, never counted
-- up in a row that several would fight over. A day that is dropped takes its figures along, see fold_endings.
CREATE OR REPLACE FUNCTION taskflow.note_removal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO taskflow.task_removals (minute, queue, state)
    VALUES (date_bin('1 minute', OLD.finished_at, '2000-01-01 00:00+00'), OLD.queue, OLD.state);
    RETURN NULL;
END $$;
