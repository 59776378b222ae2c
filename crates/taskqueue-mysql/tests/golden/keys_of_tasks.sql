SELECT type, unique_key FROM tasks FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN (?, ?) AND unique_key IS NOT NULL ORDER BY id FOR UPDATE
