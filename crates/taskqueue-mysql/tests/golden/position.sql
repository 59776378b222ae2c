SELECT `type`, `status` FROM `tasks` WHERE `tasks`.`shard` = ? AND `id` = ?
