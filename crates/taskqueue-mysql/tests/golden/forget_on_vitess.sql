DELETE FROM tasks_leases WHERE token IN (7, 8) AND shard = 0
