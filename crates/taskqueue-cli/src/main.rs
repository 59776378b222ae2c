//! The program `taskqueue`: it reads the command line, runs one command, and says by its exit code how that went.
//! What each command does is in `commands`; what the demo does is in `demo`.

mod args;
mod commands;
mod connect;
mod demo;
mod failure;
mod input;
mod output;
mod progress;
mod stop;
mod target;
mod values;

use std::process::ExitCode;
use std::time::Duration;

use crate::args::Cli;
use crate::failure::Failure;

/// How long what still runs at the end is waited for to be dropped, by which commands of `work --exec` are ended.
const END_PERIOD: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::read();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::io("cannot start the runtime", &error)),
    };
    let outcome = runtime.block_on(commands::run(cli));
    // A read of standard input that never ends must not keep the process alive.
    runtime.shutdown_timeout(END_PERIOD);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    if let Some(message) = failure.message() {
        output::note(format!("taskqueue: {message}"));
    }
    failure.code().into()
}
