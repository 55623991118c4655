SELECT id, at, body FROM taskflow.read_event_batches(%s::bigint[])
