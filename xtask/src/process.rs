//! Running programs: what they print is passed on, kept, or both. It knows no task.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A test program that prints nothing for this long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// What a watched program did.
pub(crate) struct Watched {
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    /// Whether it ended by itself and said that all is well.
    pub(crate) success: bool,
}

/// The cargo that runs this program, or the one on the path.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.stdin(Stdio::null());
    // `cargo xtask` sets these to its own package's. Build scripts that look at them (ring's does) would run anew,
    // and all that depends on them be built anew, each time that cargo is called within and without.
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
        command.env_remove(name);
    }
    command
}

/// A program that ends when this one does, also by being killed: a suite that is left alone would go on with servers
/// that are gone. Where the kernel cannot be asked for that, it is started as it is.
pub(crate) fn tied(program: &Path) -> Command {
    let has_setpriv = || output(Command::new("setpriv").arg("--version")).is_ok();
    if !cfg!(target_os = "linux") || !has_setpriv() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Whether cargo has this subcommand.
pub(crate) fn cargo_has(subcommand: &str) -> bool {
    let mut command = cargo();
    command.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command whose stdout is wanted; stderr is shown only when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {}", described(command)))?;
    if !output.status.success() {
        bail!("{} failed:\n{}", described(command), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed something that is not UTF-8", described(command)))
}

/// Runs a command that prints for people. Answers whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(status(command)?.success())
}

/// Runs a command and keeps what it writes to stdout; lines that are `shown` are passed on. A command that falls
/// silent is killed, with all that it started.
pub(crate) fn watched(command: &mut Command, shown: impl FnMut(&str) -> bool) -> Result<Watched> {
    watched_for(SILENCE_MAX, command, shown)
}

fn watched_for(
    silence_max: Duration,
    command: &mut Command,
    mut shown: impl FnMut(&str) -> bool,
) -> Result<Watched> {
    let described = described(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("start {described}"))?;
    let pipe = child.stdout.take().expect("stdout is piped");
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut stdout = String::new();
    loop {
        match lines.recv_timeout(silence_max) {
            Ok(line) => {
                if shown(&line) {
                    println!("{line}");
                }
                stdout.push_str(&line);
                stdout.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                eprintln!("killed: it printed nothing for {} seconds: {described}", silence_max.as_secs());
                kill(&mut child).with_context(|| format!("kill {described}"))?;
                break;
            }
        }
    }
    drop(lines);
    let status = child.wait().with_context(|| format!("wait for {described}"))?;
    // Where a killed program's children live on they hold the pipe open: the reader is left behind then, and ends with us.
    if reader.is_finished() {
        reader.join().ok();
    }
    Ok(Watched { stdout, success: status.success() })
}

/// Kills a program and what it started: cargo does not end a test program that hangs. They are in our process group, so that
/// Ctrl-C reaches them, and are found by their parents, where the kernel tells them.
fn kill(child: &mut Child) -> io::Result<()> {
    let started = descendants(child.id());
    child.kill()?;
    for pid in started {
        // One that has ended meanwhile is no failure.
        kill_process(pid);
    }
    Ok(())
}

#[cfg(unix)]
fn kill_process(pid: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _has_ended = pid.map(|pid| kill_process(pid, Signal::KILL));
}

#[cfg(not(unix))]
fn kill_process(_: u32) {}

/// The processes below one, on Linux; none elsewhere.
fn descendants(root: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(&std::fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect();
    let (mut found, mut next) = (vec![root], 0);
    while let Some(of) = found.get(next).copied() {
        let is_new = |pid: &u32| !found.contains(pid);
        let started: Vec<u32> =
            parents.iter().filter(|it| it.1 == of).map(|it| it.0).filter(is_new).collect();
        found.extend(started);
        next += 1;
    }
    found.split_off(1)
}

/// Of a line of `/proc/<pid>/stat`. The name before it, in brackets, may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("start {}", described(command)))
}

/// The program and its arguments. Not its environment, which may hold a server's URL.
fn described(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use std::io::Write;

    #[test]
    fn a_command_that_fails_is_named_without_its_environment() {
        let mut command = Command::new("false");
        command.arg("--now").env("TASKQUEUE_POSTGRES_URL", "postgres://ada:secret@127.0.0.1/");
        let error = output(&mut command).expect_err("it fails").to_string();
        assert!(error.starts_with("false --now failed"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_tied_program_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut cat = tied(Path::new("cat"));
            let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cat is there");
            let mut input = cat.stdin.take().expect("stdin is piped");
            input.write_all(b"up\n").expect("cat reads");
            let mut line = String::new();
            BufReader::new(cat.stdout.take().expect("stdout is piped"))
                .read_line(&mut line)
                .expect("it writes");
            (cat, input)
        };
        let (mut child, _input) = std::thread::spawn(start).join().expect("cat writes what it reads");
        let status = child.wait().expect("it ends");
        assert!(!status.success(), "its input is open: it ends by being killed only");
    }

    /// What it started holds a pipe open that ends with it.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_that_falls_silent_is_killed_with_all_that_it_started() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut command = Command::new("sh");
        command.args(["-c", "(sleep 600; true) & wait"]).stderr(writer);
        let watched = watched_for(Duration::from_secs(1), &mut command, |_| false).expect("it runs");
        drop(command);
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(io::copy(&mut reader, &mut io::sink()).is_ok()));
        assert_eq!((watched.success, ended.recv_timeout(Duration::from_secs(60))), (false, Ok(true)));
    }

    #[test]
    fn a_parent_is_read_behind_any_name() {
        assert_eq!(parent("17 (a) b) c) S 4 17 17 0 -1"), Some(4));
    }
}
