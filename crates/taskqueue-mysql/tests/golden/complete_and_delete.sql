DELETE t FROM tasks AS t FORCE INDEX (PRIMARY) WHERE t.shard = ? AND t.id IN (?, ?) AND t.lease_token IN (?) AND t.status = 2
