-- A twin of taskflow.tasks for comparison: the same columns, defaults, partitions, indexes and fillfactor, no triggers, no
-- checks, and plain types instead of domains. Made from the catalog, so that it follows the migrations.
DROP SCHEMA IF EXISTS taskflow_twin CASCADE;
CREATE SCHEMA taskflow_twin;
CREATE TABLE taskflow_twin.tasks (LIKE taskflow.tasks INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING STORAGE)
    PARTITION BY LIST (state);

DO $$
DECLARE
    it record;
BEGIN
    FOR it IN
        SELECT a.attname, format_type(t.typbasetype, t.typtypmod) AS base
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = 'taskflow_twin.tasks'::regclass AND a.attnum > 0 AND t.typtype = 'd'
    LOOP
        EXECUTE format('ALTER TABLE taskflow_twin.tasks ALTER COLUMN %I TYPE %s', it.attname, it.base);
    END LOOP;
END $$;

CREATE TABLE taskflow_twin.tasks_live PARTITION OF taskflow_twin.tasks
    FOR VALUES IN ('pending', 'retrying', 'running', 'blocked');

DO $$
DECLARE
    it record;
BEGIN
    FOR it IN SELECT indexdef FROM pg_indexes WHERE schemaname = 'taskflow' AND tablename = 'tasks_live' LOOP
        EXECUTE replace(it.indexdef, ' ON taskflow.tasks_live ', ' ON taskflow_twin.tasks_live ');
    END LOOP;
    FOR it IN
        SELECT o.option_value FROM pg_class c, pg_options_to_table(c.reloptions) o
        WHERE c.oid = 'taskflow.tasks_live'::regclass AND o.option_name = 'fillfactor'
    LOOP
        EXECUTE format('ALTER TABLE taskflow_twin.tasks_live SET (fillfactor = %s)', it.option_value);
    END LOOP;
END $$;

-- The function that fills it: the product's own, with the twin in the table's place.
DO $$
BEGIN
    EXECUTE replace(replace(pg_get_functiondef('taskflow.enqueue_many(jsonb)'::regprocedure),
        'FUNCTION taskflow.enqueue_many', 'FUNCTION taskflow_twin.enqueue_many'),
        'INSERT INTO taskflow.tasks ', 'INSERT INTO taskflow_twin.tasks ');
END $$;
