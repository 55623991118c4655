SELECT taskflow.mark_started(%s::bigint, %s::bigint[], %s::integer[], %s::double precision[])
