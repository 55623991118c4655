-- Until the transaction ends, no statement in it, no pause between two, and (from PostgreSQL 17 on) not the whole of it may
-- take longer; a stricter setting of the login stays. Local to the transaction, so a pooler may stand between.
SELECT set_config(s.name, least(nullif(s.setting, '0')::bigint, %s::bigint)::text, true)
FROM pg_catalog.pg_settings s
WHERE s.name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
