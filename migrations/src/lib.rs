//! Schema migrations of the SQL backends of taskqueue.
