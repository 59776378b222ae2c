SELECT "status" FROM "tasks" WHERE "tasks"."shard" = ? AND "status" IN (?, ?) AND "type" = ? LIMIT ? OFFSET ?
