//! The program from outside: each command's output, its errors and its exit code, on a database of the test's own.
//! It knows nothing of the program's inside.

mod all;
mod enqueueing;
#[path = "../support/event.rs"]
mod event;
mod looking;
mod ready_made;
#[path = "../support/receiver.rs"]
mod receiver;
mod shell;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod working;

/// So many tasks as JSON lines.
pub(crate) fn task_objects(tasks: usize) -> String {
    (0..tasks)
        .map(|index| format!("{{\"type\":\"mail\",\"payload\":{{\"n\":{index}}},\"priority\":9}}\n"))
        .collect()
}
