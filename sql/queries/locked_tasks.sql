SELECT taskflow.locked_tasks(%s::bigint[])
