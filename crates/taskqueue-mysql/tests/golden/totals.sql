SELECT `type`, `status`, `tasks`, `busy_us` FROM `tasks_totals` ORDER BY `type` ASC, `status` ASC
