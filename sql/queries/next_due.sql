SELECT queue, extract(epoch FROM run_at - clock_timestamp())::double precision FROM taskflow.next_due(%s::text[], %s::text[])
