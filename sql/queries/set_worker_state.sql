SELECT taskflow.set_worker_state(%s::bigint, %s::text)
