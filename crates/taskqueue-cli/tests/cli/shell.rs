//! What a shell and its user ask of the program itself.

use crate::support::Program;

#[test]
fn completions_name_the_commands_in_every_shell() {
    let program = Program::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(program.ok(&["completions", shell]).contains("redrive"), "{shell}");
    }
}

#[test]
fn help_tells_the_exit_codes_and_hides_the_environments_url() {
    let program = Program::new();
    let output =
        program.command(&["--help"]).env("TASKQUEUE_DATABASE_URL", "sqlite://secret").output().expect("runs");
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("75   failed for now") && !help.contains("secret"), "{help}");
}
