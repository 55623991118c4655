-- What replication slots hold back: the bytes of WAL that each keeps, and for how many transactions dead rows.
SELECT s.slot_name AS name, s.active, greatest(age(s.xmin), 0) AS transactions,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
                       s.restart_lsn)::bigint AS bytes
FROM pg_replication_slots s ORDER BY s.slot_name LIMIT 100
