SELECT lease_token FROM tasks FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN (?, ?) AND lease_token IN (?) AND status = 2 AND lease_until > UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND ORDER BY id
