DELETE FROM tasks_keys WHERE shard = ? AND type = ? AND unique_key IN (?, ?)
