//! What the SQL backends of taskqueue share: portable statements, row mapping, SqlQueue.
