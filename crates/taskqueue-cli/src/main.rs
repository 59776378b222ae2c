//! The program `taskqueue`.

fn main() {}
