//! What a shell and its user ask of the program itself.

use crate::support::Program;

#[test]
fn completions_name_the_commands_in_every_shell() {
    let program = Program::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = program.ok(&["completions", shell]);
        assert!(["redrive", "run-now"].iter().all(|command| script.contains(command)), "{shell}");
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

#[test]
fn completions_offer_the_statuses_of_each_command() {
    let script = Program::new().ok(&["completions", "bash"]);
    for offered in ["pending running completed failed dead_letter cancelled", "pending running failed"] {
        assert!(script.contains(&format!("compgen -W \"{offered}\"")), "{offered}");
    }
    assert!(script.contains("compgen -W \"completed cancelled dead_letter\""));
}

#[test]
fn help_keeps_the_options_of_every_command_apart_and_a_usage_error_asks_for_none_of_them() {
    let program = Program::new();
    let help = program.ok(&["get", "--help"]);
    let (own, common) = help.split_once("Which queue:").expect("a heading of their own");
    assert!(!own.contains("--database <URL>") && common.contains("--schema <NAME>"), "{help}");
    let ran = Program::on_url("sqlite:taskqueue.db".to_owned()).run(&["get"]);
    assert!(ran.code == 2 && !ran.stderr.contains("--database"), "{ran:?}");
}
