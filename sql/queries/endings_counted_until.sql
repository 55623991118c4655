-- The current minute by the database's clock, and up to which endings have been counted: the last minute that has any, or
-- else the first day that there is. NULL: there is no day.
SELECT date_trunc('minute', now()) AS minute,
       coalesce((SELECT max(t.minute + t.whole_day::integer * interval '1 day')
                 FROM taskflow.task_ends t WHERE t.minute <= now()),
                (SELECT min(d.day)::timestamp AT TIME ZONE 'UTC' FROM taskflow.ended_days() d)) AS counted
