-- Wakes whoever sleeps on one of these queues, when this transaction commits; costs no NOTIFY where nobody sleeps.
--
-- The bell of a queue is an advisory lock: class 1413567307 ('TASK'), object hashtext(queue) & 1023; -1 is the bell of
-- workers that serve every queue ('*'). There are 1,024, and not one a queue, since a transaction that inserts into
-- 10,000 queues would use up the lock table of the whole server; queues that share a bell are woken for each other.
--
-- A worker about to sleep holds it exclusively. Who makes a task claimable tries it SHARED for the transaction: refused
-- means that somebody sleeps, and only then a notification is sent, since a commit that has notified takes a lock on the
-- whole database. Granted means that nobody sleeps yet, and who wants to fall asleep before this transaction ends is
-- refused the bell and polls meanwhile: no wake-up is lost in between.
--
-- Its functions are named with their schema, and its operators are exactly those of these types, so that none in the
-- caller's search_path comes before them; a SET search_path would take two microseconds of each INSERT.
--
-- SET LOCAL taskflow.notify = off keeps silent (PREPARE TRANSACTION forbids notifications); polling finds the task then.
CREATE OR REPLACE FUNCTION taskflow.ring(p_queues text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_queue text;
    v_anybody boolean;
BEGIN
    IF coalesce(pg_catalog.cardinality(p_queues), 0) = 0 OR pg_catalog.current_setting('taskflow.notify', true) = 'off' THEN
        RETURN;
    END IF;
    v_anybody := NOT pg_catalog.pg_try_advisory_xact_lock_shared(1413567307, -1);
    FOREACH v_queue IN ARRAY p_queues LOOP
        IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1413567307, pg_catalog.hashtext(v_queue) & 1023) OR v_anybody THEN
            PERFORM pg_catalog.pg_notify('taskflow_wake', v_queue);
        END IF;
    END LOOP;
END $$;
