SELECT listed, type FROM tasks FORCE INDEX (tasks_pos) WHERE shard = ? AND listed IN (1, 4) GROUP BY shard, listed, type
