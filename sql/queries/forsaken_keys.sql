-- Concurrency keys for which tasks are blocked while none of theirs waits or runs: nobody will let them go but the leader.
-- Among the blocked tasks that an index gives first.
SELECT held.queue, held.key, count(*)::integer AS blocked
FROM (SELECT t.queue::text AS queue, t.concurrency_key::text AS key, t.updated_at FROM taskflow.tasks_live t
      WHERE t.concurrency_key IS NOT NULL AND t.state = 'blocked' LIMIT %(sample)s) AS held
WHERE NOT EXISTS (SELECT FROM taskflow.tasks_live r WHERE r.queue = held.queue AND r.concurrency_key = held.key
                     AND r.state IN ('running', 'pending', 'retrying'))
GROUP BY 1, 2 HAVING min(held.updated_at) < clock_timestamp() - %(seconds)s * interval '1 second'
ORDER BY 1, 2
