INSERT INTO tasks (shard, id, type, priority, max_retries, payload) VALUES (0, ?, ?, ?, ?, ?), (0, ?, ?, ?, ?, ?)
