-- The state that people see: a pending task whose time has not come is "scheduled", a retrying one whose time has come
-- is "pending". Neither is stored, since nothing promotes them: they are claimable the moment run_at passes.
CREATE OR REPLACE FUNCTION taskflow.shown_state(p_state taskflow.task_state, p_run_at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN p_state = 'pending' AND p_run_at > now() THEN 'scheduled'
                WHEN p_state = 'retrying' AND p_run_at <= now() THEN 'pending'
                ELSE p_state::text END
$$;
