-- The oldest row of each table, by an index: what waits or runs by its id, which grows with time.
SELECT 'tasks_live' AS family, (SELECT t.created_at FROM taskflow.tasks_live t ORDER BY t.id LIMIT 1) AS oldest
UNION ALL SELECT 'tasks_dead', (SELECT min(t.finished_at) FROM taskflow.tasks_dead t)
UNION ALL SELECT 'tasks_completed', (SELECT min(t.finished_at) FROM taskflow.tasks_completed t)
UNION ALL SELECT 'tasks_ended', (SELECT min(t.finished_at) FROM taskflow.tasks_ended t)
