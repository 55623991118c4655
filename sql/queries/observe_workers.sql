-- Every worker with its heartbeat, and, with NULL for it, every id that has claims without being a worker.
SELECT id, heartbeat FROM taskflow.workers
UNION ALL
SELECT id, NULL FROM taskflow.orphaned_workers() AS id
