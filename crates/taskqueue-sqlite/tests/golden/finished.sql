SELECT "id", "started_at", "completed_at" FROM "tasks" WHERE "tasks"."shard" = ? AND "status" = ? AND "type" = ? AND "queue_rank" = (0) AND "queue_at" <= ? ORDER BY "queue_at" ASC, "id" ASC LIMIT ?
