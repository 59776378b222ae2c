INSERT INTO `tasks_totals` (`type`, `status`, `slot`, `tasks`, `busy_us`) VALUES (?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE `tasks` = `tasks_totals`.`tasks` + ?, `busy_us` = `tasks_totals`.`busy_us` + ?
