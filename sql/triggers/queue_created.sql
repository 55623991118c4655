-- A queue that has the defaults is what it was without a row: the first task of each new one makes such a row, and a
-- notification costs a lock on the whole database.
CREATE OR REPLACE TRIGGER queue_created AFTER INSERT ON taskflow.queues
    FOR EACH ROW
    WHEN (NEW.paused OR NEW.priority <> 0 OR NEW.weight <> 1 OR NEW.timeout <> 300 OR NEW.max_workers IS NOT NULL
          OR NEW.key_limit <> 1 OR NEW.rate_limit IS NOT NULL OR NEW.type_limits <> '{}' OR NEW.aging_seconds IS NOT NULL)
    EXECUTE FUNCTION taskflow.tell_of_queue();
