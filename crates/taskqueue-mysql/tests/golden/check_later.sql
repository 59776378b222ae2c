UPDATE tasks_leases FORCE INDEX (PRIMARY) SET check_at = ? WHERE token IN (?, ?) AND shard = ? AND check_at <= UTC_TIMESTAMP(6)
