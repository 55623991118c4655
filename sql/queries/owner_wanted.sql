-- The leader that wants an owner of the tables in its place, since it may not drop the days that have expired; else no row.
SELECT l.holder
FROM taskflow.leases l JOIN taskflow.leases w ON w.name = 'owner_wanted' AND w.holder = l.holder
WHERE l.name = 'leader' AND least(l.expires_at, w.expires_at) > clock_timestamp()
