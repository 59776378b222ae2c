//! Histories: what can happen to a queue, drawn at random. It knows neither the model nor a backend.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use taskqueue_core::{FinishedStatuses, Status};

/// The types of every history.
pub(crate) const TYPES: [&str; 3] = ["a", "b", "c"];

/// The unique keys of every history.
const KEYS: std::ops::Range<u8> = 0..3;

/// What cleanups remove.
const CLEANED: [FinishedStatuses; 4] = [
    FinishedStatuses::ALL,
    FinishedStatuses::ALL_BUT_DEAD_LETTER,
    FinishedStatuses::DEAD_LETTER,
    FinishedStatuses::CANCELLED,
];

/// One thing that happens. Indexes pick among what the history has made so far.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Enqueue(Vec<Draft>),
    Claim {
        types: Vec<&'static str>,
        limit: usize,
        lease_seconds: Option<u64>,
    },
    Settle(Vec<(Index, End)>),
    Heartbeat(Vec<Index>, Option<u64>),
    Cancel(Index),
    Advance {
        seconds: u64,
    },
    /// To one microsecond before the next time at which something is due, and to it.
    AdvanceToNext,
    Promote {
        limit: usize,
    },
    Reclaim {
        limit: usize,
    },
    Cleanup {
        age_seconds: u64,
        limit: usize,
        statuses: FinishedStatuses,
    },
    RunNow(Vec<Index>),
    RedriveTasks(Vec<Index>),
    RedriveAny(Option<&'static str>),
    Pause(&'static str),
    Resume(&'static str),
    Holder(&'static str, u8),
    List {
        task_type: Option<&'static str>,
        status: Option<Status>,
        limit: usize,
        offset: usize,
    },
}

/// A task to be enqueued.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) id: u128,
    pub(crate) repeats: Option<Index>,
    pub(crate) task_type: &'static str,
    pub(crate) priority: i32,
    pub(crate) when: When,
    pub(crate) max_retries: u32,
    pub(crate) key: Option<u8>,
    pub(crate) region: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Now,
    At { seconds_from_now: i64 },
    After { seconds: u64 },
}

/// How a run ends.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Complete(Vec<Draft>),
    Fail,
    RetryAfter { seconds: u64 },
    Permanent,
    Snooze { seconds: u64 },
    Release,
}

/// Up to sixty steps.
pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..60)
}

fn step() -> impl Strategy<Value = Step> {
    let name = || select(&TYPES[..]);
    let limit = || prop_oneof![1_usize..4, Just(1000)];
    let picks = || vec(any::<Index>(), 0..4);
    let seconds = || 1_u64..400;
    prop_oneof![
        6 => vec(draft(), 0..6).prop_map(Step::Enqueue),
        8 => (vec(name(), 1..4), limit(), option::weighted(0.3, seconds()))
            .prop_map(|(types, limit, lease_seconds)| Step::Claim { types, limit, lease_seconds }),
        8 => vec((any::<Index>(), end()), 0..4).prop_map(Step::Settle),
        2 => (picks(), option::of(seconds())).prop_map(|(picks, seconds)| Step::Heartbeat(picks, seconds)),
        2 => any::<Index>().prop_map(Step::Cancel),
        3 => seconds().prop_map(|seconds| Step::Advance { seconds }),
        2 => Just(Step::AdvanceToNext),
        3 => limit().prop_map(|limit| Step::Promote { limit }),
        3 => limit().prop_map(|limit| Step::Reclaim { limit }),
        1 => (0_u64..600, limit(), select(&CLEANED[..]))
            .prop_map(|(age_seconds, limit, statuses)| Step::Cleanup { age_seconds, limit, statuses }),
        2 => picks().prop_map(Step::RunNow),
        1 => picks().prop_map(Step::RedriveTasks),
        1 => option::of(name()).prop_map(Step::RedriveAny),
        1 => name().prop_map(Step::Pause),
        2 => name().prop_map(Step::Resume),
        3 => (name(), KEYS).prop_map(|(name, key)| Step::Holder(name, key)),
        1 => (option::of(name()), option::of(select(&Status::ALL[..])), limit(), 0_usize..3)
            .prop_map(|(task_type, status, limit, offset)| Step::List { task_type, status, limit, offset }),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let when = prop_oneof![
        3 => Just(When::Now),
        1 => (-600_i64..600).prop_map(|seconds_from_now| When::At { seconds_from_now }),
        1 => (0_u64..600).prop_map(|seconds| When::After { seconds }),
    ];
    let name = select(&TYPES[..]);
    let priority = select(&[5, 5, 10, 0, -1][..]);
    let region = option::weighted(0.2, select(&["eu", "us"][..]));
    let key = option::weighted(0.3, KEYS);
    let repeats = option::weighted(0.1, any::<Index>());
    (any::<u128>(), repeats, name, priority, when, 1_u32..6, key, region).prop_map(
        |(id, repeats, task_type, priority, when, max_retries, key, region)| Draft {
            id,
            repeats,
            task_type,
            priority,
            when,
            max_retries,
            key,
            region,
        },
    )
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => vec(draft(), 0..3).prop_map(End::Complete),
        2 => Just(End::Fail),
        1 => (0_u64..600).prop_map(|seconds| End::RetryAfter { seconds }),
        1 => Just(End::Permanent),
        1 => prop_oneof![Just(0), 1_u64..600].prop_map(|seconds| End::Snooze { seconds }),
        1 => Just(End::Release),
    ]
}
