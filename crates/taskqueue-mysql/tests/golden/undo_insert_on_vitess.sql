DELETE FROM tasks WHERE shard = ? AND id = ?
