SELECT "type" FROM "tasks_paused" ORDER BY "type" ASC
