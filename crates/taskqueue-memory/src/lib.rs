//! In-memory backend of taskqueue: the semantic oracle, and a queue where durability is not needed.
