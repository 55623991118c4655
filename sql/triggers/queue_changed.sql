CREATE OR REPLACE TRIGGER queue_changed AFTER UPDATE OR DELETE ON taskflow.queues
    FOR EACH ROW EXECUTE FUNCTION taskflow.tell_of_queue();
