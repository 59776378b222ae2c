//! Development tasks of taskqueue.

fn main() {}
