SELECT "shards" FROM "tasks_shards" LIMIT $1
