-- The place of a duration in task_stats.duration_buckets, from 1: below 1 ms it is 1, from the n-th of the bounds up it is
-- n + 1, from 10,000 s it is 23. So bucket n counts the durations d with bounds[n - 1] <= d < bounds[n].
-- The bounds are those of taskflow.duration_bounds(), written out so that the planner folds them into a constant.
CREATE OR REPLACE FUNCTION taskflow.duration_bucket(p_seconds double precision) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1 + width_bucket(p_seconds,
    '{0.001,0.002,0.005,0.01,0.02,0.05,0.1,0.2,0.5,1,2,5,10,20,50,100,200,500,1000,2000,5000,10000}'::double precision[]);
