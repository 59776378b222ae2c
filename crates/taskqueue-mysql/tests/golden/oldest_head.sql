SELECT type, queue_rank, MIN(queue_at) FROM tasks FORCE INDEX (tasks_pos) WHERE shard = ? AND listed = 0 GROUP BY shard, listed, type, queue_rank ORDER BY MIN(queue_at) LIMIT 1
