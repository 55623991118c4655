-- Fires when an operator retries or removes a completed task; nothing on the hot path takes a row from there.
CREATE OR REPLACE TRIGGER completed_removal AFTER DELETE ON taskflow.tasks_completed
    FOR EACH ROW EXECUTE FUNCTION taskflow.note_removal();
