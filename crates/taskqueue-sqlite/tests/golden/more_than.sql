SELECT "status" FROM "tasks" WHERE "tasks"."shard" = ? AND "status" IN (?, ?) LIMIT ? OFFSET ?
