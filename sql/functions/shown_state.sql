-- The state that people see: a pending task whose time has not come is "scheduled", a retrying one whose time has come
-- is "pending". Neither is stored, since nothing promotes them: they are claimable the moment run_at passes.
-- By the time of the statement: what a transaction that began earlier sees may have become due since.
CREATE OR REPLACE FUNCTION taskflow.shown_state(p_state taskflow.task_state, p_run_at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN p_state = 'pending' AND p_run_at > statement_timestamp() THEN 'scheduled'
            WHEN p_state = 'retrying' AND p_run_at <= statement_timestamp() THEN 'pending'
            ELSE p_state::text END;
