SELECT MIN(`scheduled_at`) FROM `tasks` WHERE `shard` = ? AND `listed` IN (?, ?)
