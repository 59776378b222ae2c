UPDATE tasks FORCE INDEX (PRIMARY) SET status = 5, queue_rank = 0, queue_at = ?, completed_at = ?, last_error = ?, updated_at = ? WHERE shard = ? AND id = ? AND status = 0
