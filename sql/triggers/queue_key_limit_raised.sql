CREATE OR REPLACE TRIGGER queue_key_limit_raised AFTER UPDATE OF key_limit ON taskflow.queues
    FOR EACH ROW WHEN (NEW.key_limit > OLD.key_limit)
    EXECUTE FUNCTION taskflow.raise_key_limit();
