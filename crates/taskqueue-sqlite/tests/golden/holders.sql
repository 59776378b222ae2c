SELECT "holder"."unique_key", "holder"."id" FROM "tasks" AS "holder" WHERE "holder"."shard" = ? AND "holder"."unique_held" = (1) AND "holder"."type" = ? AND "holder"."unique_key" IN (?, ?)
