SELECT taskflow.report_progress(%s::bigint, %s::bigint[], %s::integer[], %s::integer[], %s::text[])
