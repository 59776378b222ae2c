SELECT id, lease_token FROM tasks FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN (?, ?) AND status IN (3, 5, 6) ORDER BY id FOR UPDATE SKIP LOCKED
