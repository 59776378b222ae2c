-- How many shards the tasks are spread over, in one row, written when the tables are made and never changed: a task's
-- shard is the low 16 bits of its id modulo this number, and its row is looked for in that shard only.
CREATE TABLE {table}_shards (
    one    smallint NOT NULL PRIMARY KEY CHECK (one = 1),
    shards smallint NOT NULL CHECK (shards BETWEEN 1 AND 1024)
);
