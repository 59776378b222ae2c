SELECT token FROM tasks_leases FORCE INDEX (tasks_leases_check) WHERE shard = ? AND check_at <= UTC_TIMESTAMP(6) GROUP BY token ORDER BY MIN(check_at), token LIMIT 1000
