//! How one attempt is told to stop. Most handlers never ask: a token is made for the first who does, be it the handler
//! or the one who stops it.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// The signal of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Stop(OnceLock<CancellationToken>);

impl Stop {
    /// Tells the attempt to stop.
    pub(crate) fn stop(&self) {
        self.token().cancel();
    }

    /// Whether it was told to.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.get().is_some_and(CancellationToken::is_cancelled)
    }

    /// The token that is cancelled when the attempt is to stop; the same one for all who ask.
    pub(crate) fn token(&self) -> &CancellationToken {
        self.0.get_or_init(CancellationToken::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_learns_of_a_stop_before_and_after_it() {
        let stop = Stop::default();
        let before = stop.token().clone();
        assert!(!stop.is_stopped() && !before.is_cancelled());
        stop.stop();
        assert!(stop.is_stopped() && before.is_cancelled() && stop.token().is_cancelled());
    }

    #[test]
    fn a_stop_that_nobody_waits_for_is_not_lost() {
        let stop = Stop::default();
        stop.stop();
        assert!(stop.is_stopped() && stop.token().is_cancelled());
    }
}
