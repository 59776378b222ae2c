//! What a transaction is for, and whose it is. It begins none.

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// One statement that changes nothing.
    Read,
    /// Several statements that change nothing and see the same state.
    Snapshot,
    /// Changes that are one call of the dialect, beside which nothing must happen: no transaction of their own where
    /// the dialect makes that call in one statement, else as `Write`.
    Single,
    /// Changes.
    Write,
}

/// Whose transaction a call is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The queue's own, which ends with the call.
    Queue,
    /// The caller's, which may stay open for long, and have any isolation level.
    Caller,
}
