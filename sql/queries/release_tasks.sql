SELECT taskflow.release_tasks(%s::bigint, %s::bigint[], %s::integer[])
