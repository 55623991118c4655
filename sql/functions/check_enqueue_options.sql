-- Refuses options that enqueue does not know, with the list of those it does, and values of the wrong JSON type.
CREATE OR REPLACE FUNCTION taskflow.check_enqueue_options(p_options jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known constant jsonb := '{"max_attempts": "number", "timeout": "number", "retry_strategy": "string",
        "retry_delay": "number", "max_retry_delay": "number", "concurrency_key": "string", "metadata": "object",
        "tags": "array", "on_conflict": "string", "delay": "number", "unique_for": "number"}';
    v_option record;
BEGIN
    IF jsonb_typeof(p_options) <> 'object' THEN
        RAISE EXCEPTION 'options must be a JSON object' USING ERRCODE = '22023';
    END IF;
    FOR v_option IN SELECT o.key, jsonb_typeof(o.value) AS given, v_known ->> o.key AS wanted FROM jsonb_each(p_options) o LOOP
        IF v_option.wanted IS NULL THEN
            RAISE EXCEPTION 'there is no option "%"', v_option.key USING ERRCODE = '22023',
                HINT = (SELECT 'options are ' || string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(v_known) k);
        ELSIF v_option.given NOT IN (v_option.wanted, 'null') THEN
            RAISE EXCEPTION 'option "%" must be of type %, not %', v_option.key, v_option.wanted, v_option.given
                USING ERRCODE = '22023';
        END IF;
    END LOOP;
    IF coalesce(p_options ->> 'on_conflict', 'skip') NOT IN ('skip', 'error', 'replace') THEN
        RAISE EXCEPTION 'on_conflict must be skip, error or replace' USING ERRCODE = '22023';
    ELSIF (p_options ->> 'delay')::double precision NOT BETWEEN 0 AND 3155760000 THEN
        RAISE EXCEPTION 'delay must be 0 seconds to 100 years' USING ERRCODE = '22023';
    ELSIF (p_options ->> 'unique_for')::double precision NOT BETWEEN 0 AND 3155760000 THEN
        RAISE EXCEPTION 'unique_for must be 0 seconds to 100 years' USING ERRCODE = '22023';
    END IF;
END $$;
