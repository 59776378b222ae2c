DELETE t FROM tasks AS t FORCE INDEX (PRIMARY) WHERE t.shard = ? AND t.id IN (?, ?) AND t.status IN (3, 5, 6)
