//! Workers that outlive their leases, on real servers: leases of milliseconds, a reclaimer, and settles that come late.
//! However it goes, each task is settled by one lease, the last one that was given.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/cases.rs"]
mod cases;
mod support;

use std::collections::HashMap;
use std::time::Duration;

use cases::on;
use support::Server;
use taskqueue_mysql::{
    ClaimRequest, Lease, MysqlQueue, NewTask, Outcome, Queue, Settled, Settlement, TaskId, TaskType, WorkerId,
};

const TASKS: usize = 100;
const WORKERS: usize = 4;
/// How many leases a worker keeps to settle late.
const LATE_MAX: usize = 12;
const LIMIT: Duration = Duration::from_secs(90);

/// What one worker saw.
#[derive(Default)]
struct Seen {
    applied: Vec<Lease>,
    refused: usize,
    unsettled: Vec<Lease>,
}

async fn settle(queue: &MysqlQueue, lease: &Lease) -> Settled {
    queue.settle_many(vec![Settlement::new(lease.clone(), Outcome::done())]).await.unwrap()[0]
}

/// Claims, settles some of it at once, and some of it so late that others may have it by then.
async fn work(queue: MysqlQueue, worker: usize) -> Seen {
    let mail = TaskType::new("mail").unwrap();
    let worker_id = WorkerId::new(format!("zombie-{worker}")).unwrap();
    let request = ClaimRequest::new(worker_id, [mail], 8).visibility_timeout(Duration::from_millis(500));
    let mut seen = Seen::default();
    let mut late: Vec<Lease> = Vec::new();
    while queue.stats().await.unwrap().completed < TASKS as u64 {
        let claims = queue.dequeue_many(&request).await.unwrap();
        let mut fresh: Vec<Lease> = claims.into_iter().map(|claim| claim.lease).collect();
        late.extend(fresh.drain(..fresh.len() / 2));
        fresh.extend(late.drain(..late.len().saturating_sub(LATE_MAX)));
        for lease in fresh {
            match settle(&queue, &lease).await {
                Settled::Applied => seen.applied.push(lease),
                Settled::Repeated => panic!("nobody settles twice: {lease:?}"),
                Settled::LeaseLost => seen.refused += 1,
            }
        }
        queue.reclaim_stale(50).await.unwrap();
    }
    seen.unsettled = late;
    seen
}

async fn a_task_is_settled_by_one_lease_however_many_zombies_there_are(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    config.options.max_reclaims = 100_000;
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    let task = |_| NewTask::raw("mail", "{}").unwrap().max_retries(100_000);
    queue.enqueue_many((0..TASKS).map(task).collect()).await.unwrap();

    let workers: Vec<_> = (0..WORKERS).map(|worker| tokio::spawn(work(queue.clone(), worker))).collect();
    let mut all = Seen::default();
    for worker in workers {
        let seen = tokio::time::timeout(LIMIT, worker).await.unwrap().unwrap();
        all.applied.extend(seen.applied);
        all.refused += seen.refused;
        all.unsettled.extend(seen.unsettled);
    }

    let mut winners: HashMap<TaskId, i64> = HashMap::new();
    for lease in &all.applied {
        assert_eq!(winners.insert(lease.task_id, lease.number), None, "settled twice: {lease:?}");
    }
    assert_eq!(winners.len(), TASKS);
    for id in winners.keys() {
        assert_eq!(
            queue.get(*id).await.unwrap().reclaims + 1,
            u32::try_from(winners[id]).unwrap(),
            "the last lease"
        );
    }
    for lease in all.unsettled {
        assert_eq!(settle(&queue, &lease).await, Settled::LeaseLost);
        all.refused += 1;
    }
    assert!(all.refused > 0, "there were zombies");
}

on! {
    a_task_is_settled_by_one_lease_however_many_zombies_there_are
}
