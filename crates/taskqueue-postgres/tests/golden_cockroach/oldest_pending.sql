SELECT min(CASE WHEN queue_at < updated_at THEN scheduled_at ELSE updated_at END) FROM tasks WHERE shard = $1 AND queue_rank IS NOT NULL
