//! `completions`: prints the completion script of a shell.

use clap::Command;
use clap_complete::Shell;

use crate::failure::{Failure, Outcome};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  taskqueue completions bash > ~/.local/share/bash-completion/completions/taskqueue
  taskqueue completions zsh > ~/.zfunc/_taskqueue
  taskqueue completions fish > ~/.config/fish/completions/taskqueue.fish";

/// Prints a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script for this command line.
pub(crate) fn run(args: Args, mut of: Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut of, "taskqueue", &mut script);
    let script = String::from_utf8(script).map_err(|_| Failure::failed("the script is not UTF-8"))?;
    output::write(&script)
}
