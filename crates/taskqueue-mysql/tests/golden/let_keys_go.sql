DELETE k FROM tasks_keys AS k FORCE INDEX (PRIMARY) WHERE shard = ? AND type = ? AND unique_key IN (?, ?)
