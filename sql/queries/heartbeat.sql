SELECT known, state, cancelled
FROM taskflow.heartbeat(%s::bigint, %s::integer, %s::bigint[], %s::integer[], %s::double precision[])
