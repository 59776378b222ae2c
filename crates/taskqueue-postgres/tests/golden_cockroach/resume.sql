DELETE FROM "tasks_paused" WHERE "type" = $1
