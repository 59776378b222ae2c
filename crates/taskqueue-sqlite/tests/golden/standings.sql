SELECT "id", "lease_token", "status" FROM "tasks" WHERE "tasks"."shard" = ? AND "id" IN (?, ?)
