SELECT status, type FROM tasks FORCE INDEX (tasks_pos) WHERE shard = 0 AND status IN (1, 4) GROUP BY shard, status, type
