SELECT token FROM tasks_leases FORCE INDEX (PRIMARY) WHERE token IN (?, ?) AND shard = ? ORDER BY token FOR UPDATE SKIP LOCKED
