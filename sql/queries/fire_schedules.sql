SELECT id, next_run_at, run_count, fired, skipped
FROM taskflow.fire_schedules(
    %s::bigint[], %s::integer[], %s::bigint[], %s::timestamptz[], %s::timestamptz[],
    %s::bigint[], %s::timestamptz[], %s::timestamptz[])
