SELECT EXISTS (SELECT FROM taskflow.task_attempts(%s::bigint) a
               WHERE a.attempt = %s::integer AND a.worker_id = %s::bigint AND a.status = 'succeeded')
