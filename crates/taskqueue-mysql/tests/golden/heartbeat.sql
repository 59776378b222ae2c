UPDATE tasks FORCE INDEX (PRIMARY) SET lease_until = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND, heartbeat_at = UTC_TIMESTAMP(6) WHERE shard = ? AND id IN (?, ?) AND lease_token IN (?) AND status = 2
