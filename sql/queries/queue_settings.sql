SELECT name, priority, paused, timeout FROM taskflow.queues
