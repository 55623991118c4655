SELECT q.name AS queue, l.key AS type FROM taskflow.queues q CROSS JOIN LATERAL jsonb_each(q.type_limits) l
WHERE q.type_limits <> '{}' AND l.value -> 'paused' = 'true' ORDER BY 1, 2
