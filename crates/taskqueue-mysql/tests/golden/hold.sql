INSERT INTO tasks_leases (token, type, shard, claimed_at, check_at) VALUES (?, ?, ?, ?, ?), (?, ?, ?, ?, ?)
