//! What tells a command to stop: SIGTERM, SIGINT, or the end of standard input where that was asked for. Listening
//! starts once and early, so that no signal is lost between two waits.

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
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
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
