SELECT others, last_id FROM taskflow.listen_for_events(%s::uuid, %s::text[], %s::double precision)
