//! What others have locked is passed over: it stands in the way of nothing else.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use taskqueue_mysql::{
    Claim, ClaimRequest, Cleanup, Enqueued, ErrorKind, Heartbeat, MysqlQueue, NewTask, Outcome, Priority,
    Queue, Reclaimed, TaskId, TaskType, WorkerId,
};

use crate::cases::on;
use crate::support::{Database, Server};
use crate::{claim, task, wait_until};

const MOMENT: Duration = Duration::from_millis(1);

/// A queue whose leases end at once, and whose transactions fail where they have to wait.
async fn impatient(server: Server) -> (MysqlQueue, Database) {
    with_reclaims(server, 5).await
}

async fn with_reclaims(server: Server, max_reclaims: u32) -> (MysqlQueue, Database) {
    let database = server.database().await;
    let mut config = database.config();
    config.options.visibility_timeout = MOMENT;
    config.options.max_reclaims = max_reclaims;
    config.lock_wait_timeout = Duration::from_secs(1);
    config.contention_retries_max = 0;
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    (queue, database)
}

/// A session that has locked these rows, until it ends.
async fn locks(database: &Database, rows: &str) -> MySqlConnection {
    let mut session = database.connect().await;
    session
        .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION")
        .await
        .unwrap();
    let locked = session.fetch_all(AssertSqlSafe(format!("{rows} FOR UPDATE"))).await.unwrap();
    assert!(!locked.is_empty());
    session
}

async fn locks_task(database: &Database, id: TaskId) -> MySqlConnection {
    let id = id.as_uuid().simple();
    locks(database, &format!("SELECT id FROM tasks WHERE shard = 0 AND id = UNHEX('{id}')")).await
}

fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| task()).collect()
}

/// One with a key of its own.
fn keyed() -> NewTask {
    let task = task();
    let key = task.id.to_string();
    task.unique_key(key)
}

fn of_kind((name, priority): (&str, i32)) -> NewTask {
    NewTask::raw(name, "{}").unwrap().priority(Priority(priority))
}

/// Takes back one task after the other, as leases end, until so many are.
async fn reclaims(queue: &MysqlQueue, count: u64) {
    let mut reclaimed = 0;
    wait_until("they are taken back", async || {
        let reclaims = queue.reclaim_stale(1).await.unwrap();
        reclaimed += reclaims.released + reclaims.dead_lettered;
        reclaimed >= count
    })
    .await;
    assert_eq!(reclaimed, count);
}

async fn a_locked_task_keeps_no_other_from_being_taken_back(server: Server) {
    let (queue, database) = impatient(server).await;
    queue.enqueue_many(tasks(3)).await.unwrap();
    let claims = claim(&queue, 3).await;
    let locked = locks_task(&database, claims[0].task.id).await;

    reclaims(&queue, 2).await;

    assert_eq!(queue.stats().await.unwrap().running, 1);
    locked.close().await.unwrap();
    reclaims(&queue, 1).await;
}

/// One that is locked, and one whose follow-up's key an open transaction holds. Each would wait as long again.
async fn a_settle_that_has_waited_for_a_lock_is_not_repeated(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    config.lock_wait_timeout = Duration::from_secs(1);
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    queue.enqueue_many(tasks(3)).await.unwrap();
    let [locked, held, other] = claim(&queue, 3).await.try_into().unwrap();
    let session = locks_task(&database, locked.task.id).await;
    let mut holder = database.connect().await;
    let mut transaction = holder.begin().await.unwrap();
    queue.enqueue_in(&mut transaction, task().unique_key("k")).await.unwrap();

    let settle = |claim: &Claim, outcome| queue.settle(claim.lease.clone(), outcome);
    let goes_on = || Outcome::done().then(task().unique_key("k"));
    for failed in [settle(&locked, Outcome::done()).await, settle(&held, goes_on()).await] {
        let error = failed.unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{error}");
    }
    assert_eq!(queue.contention_retries(), 0);

    settle(&other, Outcome::done()).await.unwrap();
    session.close().await.unwrap();
    transaction.rollback().await.unwrap();
    settle(&locked, Outcome::done()).await.unwrap();
    settle(&held, goes_on()).await.unwrap();
}

async fn a_locked_task_keeps_no_other_from_becoming_ready(server: Server) {
    let (queue, database) = impatient(server).await;
    let delayed = tasks(3).into_iter().map(|task| task.delay(MOMENT));
    let ids: Vec<TaskId> =
        queue.enqueue_many(delayed.collect()).await.unwrap().into_iter().map(Enqueued::id).collect();
    let locked = locks_task(&database, ids[0]).await;

    let mut promoted = 0;
    let mut promotes = async |count| {
        wait_until("they are ready", async || {
            promoted += queue.promote_due(1).await.unwrap();
            promoted >= count
        })
        .await;
    };
    promotes(2).await;
    let claims = claim(&queue, 3).await;
    locked.close().await.unwrap();
    promotes(3).await;

    let ready: Vec<TaskId> = claims.iter().map(|claim| claim.task.id).collect();
    assert_eq!(ready, ids[1..]);
}

/// One is over, the other one goes on.
async fn what_is_known_of_claims_keeps_no_task_from_being_taken_back_while_it_is_locked(server: Server) {
    let (queue, database) = impatient(server).await;
    queue.enqueue_many(tasks(2)).await.unwrap();
    let [over, live]: [Claim; 2] =
        [claim(&queue, 1).await.pop().unwrap(), claim(&queue, 1).await.pop().unwrap()];
    queue.heartbeat_many(&[live.lease], Some(Duration::from_secs(3_600))).await.unwrap();
    queue.complete(over.lease).await.unwrap();
    let locked = locks(&database, "SELECT token FROM tasks_leases").await;
    queue.enqueue(task()).await.unwrap();
    assert_eq!(claim(&queue, 1).await.len(), 1);

    reclaims(&queue, 1).await;

    locked.close().await.unwrap();
    let mut other = database.connect().await;
    wait_until("the claims that are over are forgotten", async || {
        queue.reclaim_stale(1).await.unwrap();
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM tasks_leases");
        count.fetch_one(&mut other).await.unwrap() == 1
    })
    .await;
}

/// An enqueue in a transaction of the service's has found its key held.
async fn a_key_that_is_locked_keeps_no_other_task_from_becoming_a_dead_letter(server: Server) {
    let (queue, database) = with_reclaims(server, 0).await;
    queue.enqueue_many(["k", "l"].map(|key| task().unique_key(key)).into()).await.unwrap();
    assert_eq!(claim(&queue, 2).await.len(), 2);
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    let taken = queue.enqueue_in(&mut transaction, task().unique_key("k")).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::DuplicateUnique);

    let mut dead = 0;
    let mut reclaims = async |count| {
        wait_until("they are dead letters", async || {
            dead += queue.reclaim_stale(10).await.unwrap().dead_lettered;
            dead >= count
        })
        .await;
    };
    reclaims(1).await;
    assert_eq!(queue.reclaim_stale(10).await.unwrap(), Reclaimed::default());
    assert_eq!(queue.stats().await.unwrap().running, 1);
    transaction.rollback().await.unwrap();
    reclaims(2).await;

    queue.enqueue_many(["k", "l"].map(|key| task().unique_key(key)).into()).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 2, "both keys were let go");
}

async fn a_locked_task_keeps_no_other_from_being_cleaned_up(server: Server) {
    let (queue, database) = impatient(server).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(queue.enqueue(task()).await.unwrap());
        queue.cancel(ids[ids.len() - 1]).await.unwrap();
    }
    let locked = locks_task(&database, ids[0]).await;
    let oldest = Cleanup::new(Duration::ZERO, 1);

    let mut removed = 0;
    let mut cleans_up = async |count| {
        wait_until("they are removed", async || {
            removed += queue.cleanup(oldest).await.unwrap();
            removed >= count
        })
        .await;
    };
    cleans_up(2).await;
    assert_eq!(queue.stats().await.unwrap().cancelled, 1);
    locked.close().await.unwrap();
    cleans_up(3).await;

    assert_eq!(queue.stats().await.unwrap().cancelled, 0);
}

/// Given many ids the server would rather read all of a small table, and wait at the first row that somebody holds.
async fn a_locked_task_keeps_no_batch_of_others_from_being_removed(server: Server) {
    let (queue, database) = impatient(server).await;
    for enqueued in queue.enqueue_many(tasks(100)).await.unwrap() {
        queue.cancel(enqueued.id()).await.unwrap();
    }
    let other = queue.enqueue(task()).await.unwrap();
    let locked = locks_task(&database, other).await;
    let all = Cleanup::new(Duration::ZERO, 100);

    assert_eq!(queue.cleanup(all).await.unwrap(), 100);

    locked.close().await.unwrap();
}

/// Others wait for their turn meanwhile.
async fn an_enqueue_that_has_waited_for_a_unique_key_is_not_repeated(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    config.lock_wait_timeout = Duration::from_secs(1);
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    let mut holder = database.connect().await;
    let mut transaction = holder.begin().await.unwrap();
    queue.enqueue_in(&mut transaction, task().unique_key("k")).await.unwrap();

    let error = queue.enqueue(task().unique_key("k")).await.unwrap_err();

    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!(queue.contention_retries(), 0);
    transaction.rollback().await.unwrap();
    queue.enqueue(task().unique_key("k")).await.unwrap();
}

async fn an_enqueue_that_was_given_up_while_it_waited_for_its_turn_is_not_made(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    // One may wait for a key at once.
    (config.connections_max, config.acquire_timeout) = (2, Duration::from_secs(2));
    config.lock_wait_timeout = Duration::from_secs(30);
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    let mut holder = database.connect().await;
    let mut transaction = holder.begin().await.unwrap();
    queue.enqueue_in(&mut transaction, task().unique_key("k")).await.unwrap();
    let first = tokio::spawn({
        let queue = queue.clone();
        async move { queue.enqueue(task().unique_key("k")).await }
    });
    wait_until("the turn is taken", async || queue.enqueue(keyed()).await.is_err()).await;

    let left = keyed();
    let id = left.id;
    tokio::select! {
        biased;
        answer = queue.enqueue(left) => panic!("it has no turn: {answer:?}"),
        () = std::future::ready(()) => {}
    }
    transaction.rollback().await.unwrap();
    first.await.unwrap().unwrap();
    queue.enqueue(keyed()).await.unwrap();

    assert_eq!(queue.get(id).await.unwrap_err().kind(), ErrorKind::TaskNotFound);
}

/// What comes first, and seems to be all that is asked for, is locked.
async fn a_claim_of_several_types_answers_what_comes_next_of_those_that_nobody_has_locked(server: Server) {
    let (queue, database) = impatient(server).await;
    let kinds = [("mail", 9), ("mail", 8), ("image", 7), ("fax", 6), ("image", 5), ("fax", 4), ("image", 3)];
    queue.enqueue_many(kinds.map(of_kind).into()).await.unwrap();
    let mut locked = locks(&database, "SELECT id FROM tasks WHERE type = 'mail' OR priority = 6").await;
    let claimed = async |limit| {
        let types = ["fax", "image", "mail"].map(|name| TaskType::new(name).unwrap());
        let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), types, limit);
        let claims = queue.dequeue_many(&request).await.unwrap();
        claims.iter().map(|claim| claim.task.priority.0).collect::<Vec<_>>()
    };

    assert_eq!(claimed(1).await, [7]);
    assert_eq!(claimed(3).await, [5, 4, 3]);
    assert!(claimed(3).await.is_empty());
    // Closed alone, the session would let go of one row after the other while the claims look.
    locked.execute("ROLLBACK").await.unwrap();

    let mut others = Vec::new();
    wait_until("the others are claimed", async || {
        others.extend(claimed(3).await);
        others.len() >= 3
    })
    .await;
    assert_eq!(others, [9, 8, 6]);
}

async fn a_task_that_a_callers_transaction_completes_costs_no_other_its_lease(server: Server) {
    let database = server.database().await;
    let queue = MysqlQueue::with_config(database.config()).await.unwrap();
    queue.migrate().await.unwrap();
    queue.enqueue_many(tasks(3)).await.unwrap();
    let leases: Vec<_> = claim(&queue, 3).await.into_iter().map(|claim| claim.lease).collect();
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    queue.complete_in(&mut transaction, leases[1].clone()).await.unwrap();

    let open = queue.heartbeat_many(&leases, None).await.unwrap();
    let alone = queue.heartbeat(&leases[1]).await.unwrap_err();
    transaction.commit().await.unwrap();
    let committed = queue.heartbeat_many(&leases, None).await.unwrap();

    assert_eq!(open, [Heartbeat::Extended, Heartbeat::Locked, Heartbeat::Extended]);
    assert_eq!(alone.kind(), ErrorKind::Unavailable);
    assert_eq!(committed, [Heartbeat::Extended, Heartbeat::Lost, Heartbeat::Extended]);
}

async fn a_running_task_that_others_have_locked_keeps_no_task_from_being_run_now(server: Server) {
    let (queue, database) = impatient(server).await;
    queue.enqueue(task()).await.unwrap();
    let running = claim(&queue, 1).await.pop().unwrap().task.id;
    let waiting = queue.enqueue(task().delay(Duration::from_secs(3600))).await.unwrap();
    let mut locked = locks_task(&database, running).await;

    let made_ready = queue.run_now(&[running, waiting]).await;
    locked.execute("ROLLBACK").await.unwrap();

    assert_eq!(made_ready.unwrap(), 1);
    assert_eq!(claim(&queue, 2).await.pop().unwrap().task.id, waiting);
}

/// As a connection does that dies without a word in the middle of a heartbeat, and whose session the server keeps.
async fn a_claim_that_others_keep_locked_costs_no_other_claim_its_leases(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    config.lock_wait_timeout = Duration::from_secs(1);
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    queue.enqueue_many(tasks(2)).await.unwrap();
    let leases = [claim(&queue, 1).await.pop().unwrap().lease, claim(&queue, 1).await.pop().unwrap().lease];
    let due = "UPDATE tasks_leases SET check_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND";
    database.connect().await.execute(due).await.unwrap();
    let of_first = format!("SELECT token FROM tasks_leases WHERE token = {}", leases[0].token.get());
    let mut locked = locks(&database, &of_first).await;

    let extending = queue.heartbeat_many(&leases, None).await.unwrap();
    let sooner = Some(Duration::from_secs(60));
    let shortening = queue.heartbeat_many(&leases, sooner).await.unwrap();
    locked.execute("ROLLBACK").await.unwrap();
    let after = queue.heartbeat_many(&leases, sooner).await.unwrap();

    assert_eq!(extending, [Heartbeat::Extended, Heartbeat::Extended], "it changes no claim");
    assert_eq!(shortening, [Heartbeat::Locked, Heartbeat::Extended]);
    assert_eq!(after, [Heartbeat::Extended, Heartbeat::Extended]);
    assert_eq!(queue.contention_retries(), 0, "it has waited once");
}

on! {
    a_claim_that_others_keep_locked_costs_no_other_claim_its_leases
    an_enqueue_that_has_waited_for_a_unique_key_is_not_repeated
    an_enqueue_that_was_given_up_while_it_waited_for_its_turn_is_not_made
    a_settle_that_has_waited_for_a_lock_is_not_repeated
    a_task_that_a_callers_transaction_completes_costs_no_other_its_lease
    a_locked_task_keeps_no_other_from_being_taken_back
    a_locked_task_keeps_no_other_from_becoming_ready
    a_running_task_that_others_have_locked_keeps_no_task_from_being_run_now
    what_is_known_of_claims_keeps_no_task_from_being_taken_back_while_it_is_locked
    a_key_that_is_locked_keeps_no_other_task_from_becoming_a_dead_letter
    a_locked_task_keeps_no_other_from_being_cleaned_up
    a_locked_task_keeps_no_batch_of_others_from_being_removed
    a_claim_of_several_types_answers_what_comes_next_of_those_that_nobody_has_locked
}
