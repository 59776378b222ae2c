INSERT INTO "tasks_paused" ("type", "paused_at") VALUES ($1, now()) ON CONFLICT ("type") DO UPDATE SET "paused_at" = now()
