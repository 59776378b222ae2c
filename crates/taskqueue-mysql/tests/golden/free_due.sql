SELECT id, lease_token FROM tasks FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN (?, ?) AND status IN (1, 4) AND due_at <= UTC_TIMESTAMP(6) ORDER BY id FOR UPDATE SKIP LOCKED
