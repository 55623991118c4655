-- The first statement of the transaction in which a request with an Idempotency-Key is done: takes the key, or says what
-- became of the request that had it. The task and the stored answer are committed together, so that after a crash at any
-- moment there are both or neither, and no key is left taken: the lock and the row go with their transaction.
--
-- outcome: 'new', do it; 'busy', another one is doing it now; 'done', with the stored answer. p_hash tells one request from another.
CREATE OR REPLACE FUNCTION taskflow.begin_request(p_scope text, p_key text, p_hash bytea)
RETURNS TABLE (outcome text, request_hash bytea, status integer, headers jsonb, body bytea)
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A server whose machine has died is not noticed for hours, and its transaction would hold the key as long.
    PERFORM set_config('idle_in_transaction_session_timeout', '60s', true);
    -- Not the row alone: who inserts the same one would wait for the first to end, and shall be told at once.
    IF NOT pg_try_advisory_xact_lock(hashtextextended(p_scope || E'\n' || p_key, 7419362)) THEN
        RETURN QUERY SELECT 'busy', NULL::bytea, NULL::integer, NULL::jsonb, NULL::bytea;
        RETURN;
    END IF;
    -- What has had its day is removed by the leader; but nobody promises that there is one.
    DELETE FROM taskflow.idempotency_keys i
    WHERE i.scope = p_scope AND i.key = p_key AND i.created_at < now() - interval '24 hours';
    INSERT INTO taskflow.idempotency_keys AS i (scope, key, request_hash) VALUES (p_scope, p_key, p_hash)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN QUERY SELECT 'new', p_hash, NULL::integer, NULL::jsonb, NULL::bytea;
    ELSE
        RETURN QUERY SELECT 'done', i.request_hash, i.status, i.headers, i.body
        FROM taskflow.idempotency_keys i WHERE i.scope = p_scope AND i.key = p_key;
    END IF;
END $$;
