SELECT id, type, lease_token, worker_id, attempts, max_retries, reclaims FROM tasks INDEXED BY tasks_pos WHERE shard = 0 AND status = 2 AND lease_until <= ?1 ORDER BY lease_until, seq LIMIT ?2
