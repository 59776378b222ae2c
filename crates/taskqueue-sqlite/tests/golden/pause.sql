INSERT INTO "tasks_paused" ("type", "paused_at") VALUES (?, ?) ON CONFLICT ("type") DO UPDATE SET "paused_at" = ?
