//! What tells a command to stop: SIGTERM, SIGINT, SIGHUP unless it is ignored, or the end of standard input where that
//! was asked for. Listening starts once and early, so that no signal is lost between two waits.

use tokio::io::AsyncReadExt;

use crate::failure::{Failure, Outcome};

/// The requests to stop, in the order they come.
#[derive(Debug)]
pub(crate) struct Stop {
    signals: Signals,
    /// Whether the end of standard input is a request that has not come yet.
    stdin: bool,
}

impl Stop {
    /// Listens from now on.
    pub(crate) fn listen(until_stdin_closes: bool) -> Outcome<Self> {
        let signals = Signals::listen().map_err(|error| Failure::io("cannot listen for signals", &error))?;
        Ok(Self { signals, stdin: until_stdin_closes })
    }

    /// Waits for the next request.
    pub(crate) async fn requested(&mut self) {
        if self.stdin {
            tokio::select! {
                () = self.signals.next() => {}
                () = end_of_stdin() => self.stdin = false,
            }
        } else {
            self.signals.next().await;
        }
    }
}

async fn end_of_stdin() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0_u8; 64];
    // An input that cannot be read has ended as well.
    while stdin.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}

#[cfg(unix)]
#[derive(Debug)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// Until it came: a terminal that closes sends it once by itself and once by its shell.
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: heeds_hang_up().then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hang_up(self.hang_up.as_mut()) => self.hang_up = None,
        }
    }
}

#[cfg(unix)]
async fn hang_up(signal: Option<&mut tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether nobody asked for SIGHUP to be ignored, as `nohup` does: to listen for it would undo that. Where the kernel does
/// not tell, it keeps its default, which is to end the process.
#[cfg(unix)]
fn heeds_hang_up() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hang_up(&status) == Some(false))
}

#[cfg(unix)]
fn ignores_hang_up(status: &str) -> Option<bool> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    // The lowest bit is that of signal 1, SIGHUP.
    u64::from_str_radix(ignored.trim(), 16).ok().map(|ignored| ignored & 1 == 1)
}

#[cfg(not(unix))]
#[derive(Debug)]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_asked_for_is_seen() {
        assert_eq!(ignores_hang_up("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"), Some(true));
        assert_eq!(ignores_hang_up("SigIgn:\t0000000000001000\n"), Some(false));
        assert_eq!(ignores_hang_up("Name:\ttaskqueue\n"), None);
    }
}
