//! How much is measured: the sizes of one run. It measures nothing.

use crate::engine::Kind;

/// The sizes of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How often each contestant is timed, in turn with the others; the median counts.
    pub rounds: usize,
    /// Tasks of one drain.
    pub drain: usize,
    /// Single enqueues of each client.
    pub singles: usize,
    /// Tasks that are enqueued in batches.
    pub batched: usize,
    /// Tasks whose latency is taken, in each round. Of 200 a worker's first ones, for which each connection prepares its
    /// statements, would be the p99.
    pub latencies: usize,
    /// How long a steady flow lasts.
    pub steady_seconds: usize,
    /// Dead index entries below an old transaction's horizon.
    pub dead: usize,
    /// Finished tasks beside a drain.
    pub finished: usize,
    /// Tasks scheduled for later beside a drain.
    pub scheduled: usize,
    /// Tasks claimed one by one under contention.
    pub contended: usize,
    /// Tasks drained while memory is watched.
    pub watched: usize,
    /// Finished tasks of an embedded engine's long history.
    pub history: usize,
}

impl Plan {
    /// The sizes that the bars name.
    pub fn full() -> Self {
        Self {
            rounds: 3,
            drain: 100_000,
            singles: 500,
            batched: 100_000,
            latencies: 500,
            steady_seconds: 600,
            dead: 1_000_000,
            finished: 10_000_000,
            scheduled: 1_000_000,
            contended: 10_000,
            watched: 1_000_000,
            history: 1_000_000,
        }
    }

    /// Every bar of every engine, in less than twenty minutes: those that are slower get fewer tasks.
    pub fn quick(kind: Kind) -> Self {
        let plan = Self {
            drain: 40_000,
            singles: 200,
            batched: 50_000,
            steady_seconds: 30,
            dead: 200_000,
            finished: 500_000,
            scheduled: 200_000,
            contended: 4_000,
            watched: 200_000,
            history: 100_000,
            ..Self::full()
        };
        match kind {
            Kind::Memory | Kind::Sqlite => plan,
            // A drain of fewer is over before it is at its pace.
            Kind::Postgres => Self { drain: 100_000, ..plan },
            Kind::Mysql | Kind::Mariadb => Self {
                drain: 20_000,
                batched: 30_000,
                steady_seconds: 20,
                dead: 60_000,
                contended: 2_000,
                ..plan
            },
        }
    }

    /// As small as shows that everything runs; the figures mean nothing.
    pub fn smoke() -> Self {
        Self {
            rounds: 1,
            drain: 2_000,
            singles: 20,
            batched: 2_000,
            latencies: 20,
            steady_seconds: 1,
            dead: 2_000,
            finished: 2_000,
            scheduled: 2_000,
            contended: 200,
            watched: 2_000,
            history: 2_000,
        }
    }
}
