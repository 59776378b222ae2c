DELETE l FROM tasks_leases AS l FORCE INDEX (PRIMARY) WHERE token IN (7, 8) AND shard = 0
