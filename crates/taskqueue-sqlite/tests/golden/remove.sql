DELETE FROM "tasks" WHERE "shard" = ? AND "id" IN (?, ?) AND "status" IN (?, ?, ?)
