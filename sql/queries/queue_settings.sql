SELECT name, priority, paused, timeout, weight, max_workers,
       max_workers IS NOT NULL OR rate_limit IS NOT NULL OR type_limits <> '{}' OR aging_seconds IS NOT NULL AS limited
FROM taskflow.queues
