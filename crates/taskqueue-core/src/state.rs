//! Where a task stands, as backends store it: `pending` split into ready and delayed, so that a claim never
//! walks over what is scheduled for later.

use crate::Status;

/// The stored state. The discriminants are the codes in every SQL backend's `status` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum State {
    /// Claimable now.
    Ready = 0,
    /// Pending until its due time.
    Delayed = 1,
    /// Leased to a worker.
    Running = 2,
    /// Finished.
    Completed = 3,
    /// Waits for its retry.
    Failed = 4,
    /// Failed permanently.
    DeadLetter = 5,
    /// Cancelled.
    Cancelled = 6,
}

impl State {
    /// Every state, in the order of the codes.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Delayed,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::DeadLetter,
        Self::Cancelled,
    ];

    /// The stored code.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The state of a stored code, if it is one.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The status that users see.
    pub fn status(self) -> Status {
        match self {
            Self::Ready | Self::Delayed => Status::Pending,
            Self::Running => Status::Running,
            Self::Completed => Status::Completed,
            Self::Failed => Status::Failed,
            Self::DeadLetter => Status::DeadLetter,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// Whether a task that stands so waits for a time: its own, or that of its retry.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Delayed | Self::Failed)
    }

    /// The states that users see as `status`.
    pub fn of_status(status: Status) -> &'static [Self] {
        match status {
            Status::Pending => &[Self::Ready, Self::Delayed],
            Status::Running => &[Self::Running],
            Status::Completed => &[Self::Completed],
            Status::Failed => &[Self::Failed],
            Status::DeadLetter => &[Self::DeadLetter],
            Status::Cancelled => &[Self::Cancelled],
        }
    }
}
