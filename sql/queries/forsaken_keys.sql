-- Concurrency keys for which tasks are blocked while none of theirs waits or runs: nobody will let them go but the leader. The
-- keys are those of the blocked tasks that an index gives first, and of each key the tasks that come first are looked at.
SELECT held.queue, held.key, held.blocked
FROM (
    SELECT b.queue, b.key, count(*)::integer AS blocked, min(b.updated_at) AS since
    FROM (SELECT t.queue::text AS queue, t.concurrency_key::text AS key, t.updated_at FROM taskflow.tasks_live t
          WHERE t.key_state = 'blocked' LIMIT %(sample)s) AS b
    GROUP BY 1, 2 ORDER BY 4 LIMIT 100) AS held
WHERE held.since < clock_timestamp() - %(seconds)s * interval '1 second'
  AND CASE
      WHEN EXISTS (SELECT FROM taskflow.tasks_live r
                   WHERE r.queue = held.queue AND r.concurrency_key = held.key AND r.key_state = 'running') THEN false
      ELSE NOT EXISTS (
          SELECT FROM (SELECT w.state FROM taskflow.tasks_live w
                       WHERE w.queue = held.queue AND w.concurrency_key = held.key AND w.key_state IS DISTINCT FROM 'running'
                       ORDER BY w.queue, w.concurrency_key, w.type, w.priority, w.run_at, w.id
                       LIMIT %(sample)s) AS first
          WHERE first.state <> 'blocked')
      END
ORDER BY 1, 2
