SELECT id, attempt FROM taskflow.claimed_by(%s::bigint)
