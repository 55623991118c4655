-- The same for cancelled and failed tasks.
CREATE OR REPLACE TRIGGER ended_removal AFTER DELETE ON taskflow.tasks_ended
    FOR EACH ROW EXECUTE FUNCTION taskflow.note_removal();
