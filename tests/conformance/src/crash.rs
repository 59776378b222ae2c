//! What must be there after a server was killed: all that it had answered `Ok` to. The server is the test's own, since it kills
//! it, and syncs its disk as in production. It knows no engine.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_core::{
    ClaimRequest, Error, NewTask, Outcome, Queue, Settled, Settlement, Status, TaskFilter, TaskId,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bed::{WAIT_MAX, request, tasks, wait_until};
use crate::servers::Servers;

/// So many must have been answered when the server is killed.
const ENQUEUED_MIN: usize = 500;
const COMPLETED_MIN: usize = 200;
/// How many enqueue and work at the same time.
const CALLERS: usize = 4;
/// Soon over, so that what was claimed and not settled comes back within the test.
const LEASE: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Default)]
struct Answered {
    enqueued: BTreeSet<TaskId>,
    completed: BTreeSet<TaskId>,
}

type Shared<Q> = (Arc<Q>, Arc<Mutex<Answered>>);

/// Asserts that a server that is killed under load still has every task whose enqueue was answered, and every completion that
/// was, and that the rest can be worked. `open` makes a queue with its tables at a URL.
pub async fn assert_what_was_answered_outlasts_a_crash<Q: Queue + 'static, F>(open: impl Fn(String) -> F)
where
    F: Future<Output = Result<Q, Error>>,
{
    let servers = Servers::durable().await;
    let server = &servers.nodes()[0];
    let queue = open(server.url()).await.expect("the server answers");
    let (queue, answered) = (Arc::new(queue), Arc::<Mutex<Answered>>::default());
    let mut calling = JoinSet::new();
    for size in [1, 1, 10, 50] {
        calling.spawn(enqueue_until_it_fails((Arc::clone(&queue), Arc::clone(&answered)), size));
    }
    for _ in 0..CALLERS {
        calling.spawn(work_until_it_fails((Arc::clone(&queue), Arc::clone(&answered))));
    }
    let is_enough = || {
        let Answered { enqueued, completed } = &*lock(&answered);
        enqueued.len() >= ENQUEUED_MIN && completed.len() >= COMPLETED_MIN
    };
    wait_until(async || Ok(is_enough().then_some(()))).await.expect("calls are answered");
    server.kill().await;
    server.start().await;
    timeout(WAIT_MAX, calling.join_all()).await.expect("calls to a dead server end");
    queue.close().await;
    let again = wait_until(async || Ok(open(server.url()).await.ok())).await.expect("the server comes back");
    let answered = std::mem::take(&mut *lock(&answered));
    assert_all_there(&again, &answered).await;
    work_off(&again).await;
}

fn lock(answered: &Mutex<Answered>) -> MutexGuard<'_, Answered> {
    answered.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn enqueue_until_it_fails<Q: Queue>((queue, answered): Shared<Q>, size: usize) {
    loop {
        let batch: Vec<NewTask> = tasks(size);
        let ids: Vec<TaskId> = batch.iter().map(|task| task.id).collect();
        match queue.enqueue_many(batch).await {
            Ok(_) => lock(&answered).enqueued.extend(ids),
            Err(_) => return,
        }
    }
}

fn claim_request() -> ClaimRequest {
    let mut request = request(20);
    request.visibility_timeout = Some(LEASE);
    request
}

async fn work_until_it_fails<Q: Queue>((queue, answered): Shared<Q>) {
    loop {
        let Ok(claims) = queue.dequeue_many(&claim_request()).await else { return };
        let ids: Vec<TaskId> = claims.iter().map(|claim| claim.task.id).collect();
        let done = claims.into_iter().map(|claim| Settlement::new(claim.lease, Outcome::done())).collect();
        let Ok(settled) = queue.settle_many(done).await else { return };
        let applied = ids.into_iter().zip(settled).filter(|(_, settled)| *settled == Settled::Applied);
        lock(&answered).completed.extend(applied.map(|(id, _)| id));
        tokio::task::yield_now().await;
    }
}

async fn assert_all_there(queue: &impl Queue, answered: &Answered) {
    let (mut stored, mut completed) = (BTreeSet::new(), BTreeSet::new());
    let mut filter = TaskFilter { limit: 1_000, ..TaskFilter::default() };
    loop {
        let page = queue.list(&filter).await.expect("the server answers");
        for task in &page.tasks {
            stored.insert(task.id);
            completed.extend((task.status == Status::Completed).then_some(task.id));
        }
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    let lost = answered.enqueued.difference(&stored).count();
    let undone = answered.completed.difference(&completed).count();
    let (enqueued, done) = (answered.enqueued.len(), answered.completed.len());
    assert_eq!((lost, undone), (0, 0), "of {enqueued} tasks and {done} completions that were answered");
}

/// Works what is left, also what nobody was told of.
async fn work_off(queue: &impl Queue) {
    let working = async {
        loop {
            queue.reclaim_stale(1_000).await?;
            for claim in queue.dequeue_many(&claim_request()).await? {
                queue.complete(claim.lease).await?;
            }
            let stats = queue.stats().await?;
            if stats.pending + stats.running == 0 {
                return Ok::<_, Error>(stats);
            }
        }
    };
    let stats = timeout(WAIT_MAX, working).await.expect("all can be worked").expect("the server answers");
    assert_eq!((stats.failed, stats.dead_letter), (0, 0));
}
