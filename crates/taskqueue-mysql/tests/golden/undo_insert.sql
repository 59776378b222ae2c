DELETE t FROM tasks AS t FORCE INDEX (PRIMARY) WHERE shard = ? AND id = ?
