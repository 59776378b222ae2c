SELECT "holder"."unique_key", "holder"."id" FROM "tasks" AS "holder" WHERE "holder"."shard" = $1 AND "holder"."unique_held" = (1) AND "holder"."type" = $2 AND "holder"."unique_key" IN ($3, $4)
