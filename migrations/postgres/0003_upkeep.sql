-- Promotion in its whole order: over all types, earliest first, and never over what is not due. With an index that ended
-- with the time, each call would sort all tasks of one due time before it takes its share.
--
-- Building it reads the task table once, and writes wait meanwhile. IF NOT EXISTS, so that it can be built CONCURRENTLY
-- beforehand.
CREATE INDEX IF NOT EXISTS {table}_due_order ON {table} (shard, due_at, queue_at, id) WHERE due_at IS NOT NULL;

-- What it replaces. With IF EXISTS its name keeps the schema, which the name of an index that is made must not have.
DROP INDEX IF EXISTS {table}_due;

-- Folds delete from the sums, which have no key: the server refuses that where a publication has all tables. So the whole row
-- names it to whoever follows.
ALTER TABLE {table}_totals REPLICA IDENTITY FULL;
