//! SQLite backend of taskqueue: the embedded durable default.
