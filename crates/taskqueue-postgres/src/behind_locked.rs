//! When a claim of several types looks for what locked tasks hide from it. Such a claim reads the first tasks of all types together and
//! locks them after; where others hold all that it read, it finds nothing, whatever lies behind. It owns how often that is looked
//! for; it knows no statement.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use taskqueue_core::clock;
use tokio::time::Instant;

/// A look rests so long at least, and longer where it takes long. Idle queues and steady flows find less than they ask for in every
/// claim, and a look is a statement a type.
const REST_MIN: Duration = Duration::from_secs(10);

/// The looks of one instance.
#[derive(Debug, Default)]
pub(crate) struct BehindLocked {
    rests_until: Mutex<Option<Instant>>,
}

impl BehindLocked {
    /// Whether to look now. Of claims at once one does.
    pub(crate) fn may_look(&self, now: Instant) -> bool {
        let mut rests_until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        let may = rests_until.is_none_or(|until| now >= until);
        if may {
            *rests_until = Some(now + REST_MIN);
        }
        may
    }

    /// A look is done.
    pub(crate) fn looked(&self, began: Instant, ended: Instant) {
        let rest = REST_MIN.max(clock::rest(ended.saturating_duration_since(began)));
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_rest_for_ten_seconds_and_slow_ones_in_proportion() {
        let (behind_locked, now) = (BehindLocked::default(), Instant::now());
        assert!(behind_locked.may_look(now), "the first time");
        assert!(!behind_locked.may_look(now), "another one is under way");
        behind_locked.looked(now, now);
        assert!(!behind_locked.may_look(now + REST_MIN - Duration::from_millis(1)));
        assert!(behind_locked.may_look(now + REST_MIN));
        let ended = now + Duration::from_secs(1);
        behind_locked.looked(now, ended);
        assert!(!behind_locked.may_look(ended + Duration::from_secs(18)));
        assert!(behind_locked.may_look(ended + Duration::from_secs(19)));
    }
}
