SELECT `status`, `type`, COUNT(*) FROM `tasks` WHERE `tasks`.`shard` = ? AND `status` IN (?, ?, ?, ?) GROUP BY `status`, `type`
