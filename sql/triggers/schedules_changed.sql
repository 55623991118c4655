-- Firing touches none of these columns, so it notifies nobody.
CREATE OR REPLACE TRIGGER schedules_changed
    AFTER INSERT OR UPDATE OF version, enabled, cron, "interval", timezone, starts_at, ends_at, max_runs ON taskflow.schedules
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow.schedules_changed();
