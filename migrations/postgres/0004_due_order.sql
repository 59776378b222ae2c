-- Promotion in its whole order: over all types, earliest first, and never over what is not due. With an index that ended
-- with the time, each call would sort all tasks of one due time before it takes its share.
--
-- Building it reads the task table once, and writes wait meanwhile. IF NOT EXISTS, so that it can be built CONCURRENTLY
-- beforehand. Nothing else is changed here: whoever waits for the build may hold what that would need.
CREATE INDEX IF NOT EXISTS {table}_due_order ON {table} (shard, due_at, queue_at, id) WHERE due_at IS NOT NULL;
