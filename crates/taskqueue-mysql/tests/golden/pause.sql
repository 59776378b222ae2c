INSERT INTO `tasks_paused` (`type`, `paused_at`) VALUES (?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE `paused_at` = UTC_TIMESTAMP(6)
