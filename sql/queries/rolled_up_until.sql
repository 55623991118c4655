-- The current minute by the database's clock, and the last one in task_stats that is not after it (a clock set back
-- leaves minutes of the future behind), NULL if there is none.
SELECT date_trunc('minute', now()) AS minute,
       (SELECT max(minute) FROM taskflow.task_stats WHERE minute <= now()) AS done
