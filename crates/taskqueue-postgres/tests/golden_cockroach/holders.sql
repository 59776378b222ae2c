SELECT "unique_key", "id" FROM "tasks" WHERE "tasks"."shard" = $1 AND "type" = $2 AND "unique_key" IN ($3, $4) AND "unique_held" = (1)
