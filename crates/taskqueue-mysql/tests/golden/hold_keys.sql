INSERT INTO tasks_keys (shard, type, unique_key, id) VALUES (0, ?, ?, ?), (0, ?, ?, ?)
