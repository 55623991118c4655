SELECT name, what FROM taskflow.sync_schedules(%s::jsonb, %s::text[])
