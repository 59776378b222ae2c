SELECT "type", "status" FROM "tasks" WHERE "tasks"."shard" = $1 AND "id" = $2
