SELECT status, type FROM tasks FORCE INDEX (tasks_pos) WHERE shard = ? AND status IN (1, 4) GROUP BY shard, status, type
