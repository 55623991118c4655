-- Firing touches neither column, and what was there before can still be changed otherwise.
CREATE OR REPLACE TRIGGER schedule_times BEFORE INSERT OR UPDATE OF starts_at, ends_at ON taskflow.schedules
    FOR EACH ROW WHEN (NEW.starts_at NOT BETWEEN '1900-01-01 00:00+00' AND '2200-01-01 00:00+00'
                       OR NEW.ends_at NOT BETWEEN '1900-01-01 00:00+00' AND '2200-01-01 00:00+00')
    EXECUTE FUNCTION taskflow.refuse_schedule_times();
