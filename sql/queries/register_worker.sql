SELECT taskflow.register_worker(%s::text, %s::integer, %s::text[], %s::text[], %s::integer, %s::text, %s::bigint)
