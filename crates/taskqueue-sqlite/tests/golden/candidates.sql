SELECT seq, queue_rank, queue_at FROM tasks INDEXED BY tasks_pos WHERE shard = 0 AND status = 0 AND type = ?2 AND NOT EXISTS (SELECT 1 FROM tasks_paused WHERE type = ?2) ORDER BY 2, 3, 1 LIMIT ?1
