SELECT listed FROM tasks FORCE INDEX (tasks_pos) WHERE shard = ? AND listed IN (0, 1) LIMIT 1 OFFSET ?
