SELECT holder, extract(epoch FROM clock_timestamp() - expires_at)::float8 AS seconds_over
FROM taskflow.leases WHERE name = 'leader'
