SELECT `shards` FROM `tasks_shards` LIMIT ?
