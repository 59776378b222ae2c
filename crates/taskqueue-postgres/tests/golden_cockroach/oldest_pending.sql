SELECT least((SELECT min(scheduled_at) FROM tasks WHERE shard = $1 AND queue_rank IS NOT NULL), (SELECT min(scheduled_at) FROM tasks WHERE shard = $1 AND due_at IS NOT NULL AND status + 0 = 1))
