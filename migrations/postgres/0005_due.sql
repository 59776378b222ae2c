-- What the index before replaces. With IF EXISTS its name keeps the schema, which the name of an index that is made must not
-- have.
DROP INDEX IF EXISTS {table}_due;
