-- Workers write what they can run: an array of objects with the columns of task_types. A row is touched only where it
-- differs, or was last seen an hour ago, so that fifty workers starting at once do not queue up behind each other.
CREATE OR REPLACE FUNCTION taskflow.register_types(p_types jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO taskflow.task_types AS known
        (type, schema, description, queue, priority, max_attempts, timeout, retry_strategy, retry_delay, max_retry_delay)
    SELECT t.type, t.schema, t.description, t.queue, t.priority, t.max_attempts, t.timeout, t.retry_strategy,
           t.retry_delay, t.max_retry_delay
    FROM jsonb_populate_recordset(NULL::taskflow.task_types, p_types) t
    ORDER BY t.type
    ON CONFLICT (type) DO UPDATE SET
        schema = excluded.schema, description = excluded.description, queue = excluded.queue,
        priority = excluded.priority, max_attempts = excluded.max_attempts, timeout = excluded.timeout,
        retry_strategy = excluded.retry_strategy, retry_delay = excluded.retry_delay,
        max_retry_delay = excluded.max_retry_delay, last_seen = now()
    WHERE known.last_seen < now() - interval '1 hour'
       OR (known.schema, known.description, known.queue, known.priority, known.max_attempts, known.timeout,
           known.retry_strategy, known.retry_delay, known.max_retry_delay)
          IS DISTINCT FROM
          (excluded.schema, excluded.description, excluded.queue, excluded.priority, excluded.max_attempts,
           excluded.timeout, excluded.retry_strategy, excluded.retry_delay, excluded.max_retry_delay)
$$;
