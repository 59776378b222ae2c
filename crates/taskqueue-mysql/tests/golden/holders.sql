SELECT `unique_key`, `id` FROM `tasks` WHERE `tasks`.`shard` = ? AND `type` = ? AND `unique_key` IN (?, ?) AND `unique_held` = (1)
