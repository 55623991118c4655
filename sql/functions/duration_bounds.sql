-- The bounds, in seconds, of the buckets in task_stats.duration_buckets: 1, 2, 5 a decade, from 1 ms to 10,000 s. They are
-- part of the stored data: a changed list would need the old rows rewritten.
CREATE OR REPLACE FUNCTION taskflow.duration_bounds() RETURNS double precision[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000,
             10000]::double precision[];
