CREATE OR REPLACE TRIGGER queue_limited BEFORE UPDATE ON taskflow.queues
    FOR EACH ROW WHEN (OLD.max_workers IS NULL AND NEW.max_workers IS NOT NULL)
    EXECUTE FUNCTION taskflow.limit_queue();
