//! The program as a whole, without a server: when it ends.

use std::process::{Command, Stdio};

#[test]
fn the_program_ends_with_its_standard_input_and_leaves_nothing() {
    let temporary = tempfile::tempdir().expect("there is room");
    let mut program = Command::new(env!("CARGO_BIN_EXE_taskqueue-servers"));
    let mut holder = program
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program was built with this test");

    drop(holder.stdin.take());

    assert!(holder.wait().expect("it ends").success());
    assert_eq!(std::fs::read_dir(temporary.path()).expect("it is there").count(), 0);
}
