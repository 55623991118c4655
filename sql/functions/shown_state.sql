-- The state that people see: a pending task whose time has not come is "scheduled", a retrying one whose time has come
-- is "pending". Neither is stored, since nothing promotes them: they are claimable the moment run_at passes.
-- By the time of the statement: what a transaction that began earlier sees may have become due since.
-- It is made a part of the query that calls it, so nothing in it may be looked up otherwise by another's search_path: states
-- are compared as texts, since an enum's own `=` is one for any type, to which one for just this type would be preferred.
CREATE OR REPLACE FUNCTION taskflow.shown_state(p_state taskflow.task_state, p_run_at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN p_state::text = 'pending' AND p_run_at > statement_timestamp() THEN 'scheduled'
                WHEN p_state::text = 'retrying' AND p_run_at <= statement_timestamp() THEN 'pending'
                ELSE p_state::text END
$$;
