SELECT id, lease_token FROM tasks FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN (?, ?) AND status = 2 ORDER BY id FOR UPDATE SKIP LOCKED
