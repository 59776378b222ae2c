DELETE k FROM tasks AS t STRAIGHT_JOIN tasks_keys AS k ON k.shard = t.shard AND k.type = t.type AND k.unique_key = t.unique_key AND k.id = t.id WHERE t.shard = ? AND t.id IN (?, ?)
