SELECT type, status, sum(tasks)::bigint, sum(busy_us)::bigint FROM tasks_totals GROUP BY type, status ORDER BY type, status
