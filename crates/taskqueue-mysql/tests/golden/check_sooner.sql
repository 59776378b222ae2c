UPDATE tasks_leases FORCE INDEX (PRIMARY) SET check_at = LEAST(check_at, UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND) WHERE token IN (?, ?) AND shard = ?
