//! What the queue does when its connections break, its server goes away and comes back, or becomes read-only: every
//! failed call says that it can be repeated, repeating it does what was asked once, and the pool heals by itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/cases.rs"]
mod cases;
#[path = "faults/migrating.rs"]
mod migrating;
#[path = "faults/nodes.rs"]
mod nodes;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "faults/read_only.rs"]
mod read_only;
#[path = "faults/socket.rs"]
mod socket;
mod support;

use std::time::Duration;

use cases::on;
use proxy::{Proxy, Rule};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use support::{Database, Server};
use taskqueue_conformance::wait_until;
use taskqueue_mysql::{
    Claim, ClaimRequest, Enqueued, Error, ErrorKind, Lease, MysqlConfig, MysqlQueue, NewTask, Outcome, Queue,
    Settled, Settlement, Status, TaskType, WorkerId,
};

/// More messages than any call here sends.
const MESSAGES_MAX: usize = 16;
/// The messages with which a connection is given back: a rollback and a ping.
const GIVEN_BACK: usize = 2;
/// A COMMIT as the protocol has it: behind the command "query".
const COMMIT: &str = "\x03COMMIT";
/// No call may take so long.
const LIMIT: Duration = Duration::from_secs(60);

/// A queue whose connections go through a proxy, not encrypted, so that the proxy can read them.
struct Bed {
    queue: MysqlQueue,
    proxy: Proxy,
    database: Database,
}

impl Bed {
    /// Sets the rule once the connections lie idle, so that it counts the messages of the next call only.
    async fn breaks(&self, rule: Rule) {
        let pool = self.queue.pool();
        wait_until("the connections are idle", async || pool.num_idle() == pool.size() as usize).await;
        self.proxy.rule(rule);
    }
}

async fn bed(server: Server) -> Bed {
    bed_with(server, |_| {}).await
}

async fn bed_with(server: Server, settings: impl FnOnce(&mut MysqlConfig)) -> Bed {
    let database = server.database().await;
    // The first log-in must be encrypted; the server then takes this user's next ones unencrypted as well.
    database.connect().await.close().await.unwrap();
    let direct: MySqlConnectOptions = database.url().parse().unwrap();
    let server = format!("{}:{}", direct.get_host(), direct.get_port());
    let proxy = Proxy::before(&server).await;
    let url = database.url();
    let (user, place) = url.rsplit_once('@').unwrap();
    let (_, path) = place.split_once('/').unwrap();
    let through = format!("{user}@{}/{path}&ssl-mode=DISABLED", proxy.address());
    let mut config = MysqlConfig::url(&through).unwrap();
    settings(&mut config);
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    Bed { queue, proxy, database }
}

fn task() -> NewTask {
    NewTask::raw("mail", "{}").unwrap()
}

/// One that is not enqueued by a single statement.
fn keyed() -> NewTask {
    let task = task();
    let key = task.id.to_string();
    task.unique_key(key)
}

async fn claim(queue: &MysqlQueue, limit: usize) -> Result<Vec<Claim>, Error> {
    let worker = WorkerId::new("ada").unwrap();
    queue.dequeue_many(&ClaimRequest::new(worker, [TaskType::new("mail").unwrap()], limit)).await
}

async fn complete(queue: &MysqlQueue, lease: &Lease) -> Result<Settled, Error> {
    let follow_up = Outcome::done().then(NewTask::raw("next", "{}").unwrap());
    Ok(queue.settle_many(vec![Settlement::new(lease.clone(), follow_up)]).await?[0])
}

/// Uses so many connections at once, so that they lie idle in the pool.
async fn warm_up(queue: &MysqlQueue, connections: usize) {
    let mut lent = Vec::new();
    for _ in 0..connections {
        lent.push(queue.pool().acquire().await.unwrap());
    }
    drop(lent);
    wait_until("the connections are idle", async || queue.pool().num_idle() >= connections).await;
}

fn assert_repeatable(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.is_transient(), "{error:?}");
}

/// Every place at which a connection can break: before a message of the call arrives, and before its answer does.
fn breaks() -> impl Iterator<Item = Rule> {
    (0..MESSAGES_MAX).flat_map(|place| [Rule::CutBefore(place), Rule::CutAnswer(place)])
}

/// Its id tells whether it is in where the answer was lost.
async fn a_single_enqueue_that_is_cut_is_done_once_without_an_error(server: Server) {
    let bed = bed(server).await;
    bed.queue.enqueue(task()).await.unwrap();
    for rule in [Rule::CutBefore(0), Rule::CutAnswer(0), Rule::CutBefore(0), Rule::CutAnswer(0)] {
        bed.proxy.rule(rule);
        bed.queue.enqueue(task()).await.unwrap();
        assert_eq!(bed.proxy.fired(), 1, "{rule:?}");
    }
    assert_eq!(bed.queue.stats().await.unwrap().pending, 5);
}

async fn an_enqueue_with_a_trace_context_begins_no_transaction(server: Server) {
    let bed = bed(server).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = || task().metadata("traceparent", trace);
    bed.proxy.rule(Rule::RefuseOf("START TRANSACTION", 1235));

    bed.queue.enqueue(traced()).await.unwrap();
    bed.queue.enqueue_many(vec![traced().region("eu"), task(), traced().delay(LIMIT)]).await.unwrap();

    assert_eq!(bed.proxy.fired(), 0);
    bed.proxy.rule(Rule::Pass);
    let claims = claim(&bed.queue, 10).await.unwrap();
    assert_eq!(claims.len(), 3);
    assert_eq!(claims[0].task.metadata["traceparent"], trace);
}

async fn an_enqueue_cut_anywhere_is_done_once_when_it_is_repeated(server: Server) {
    let bed = bed(server).await;
    let (mut cut, mut repeated) = (0, 0);
    for rule in breaks() {
        let task = keyed();
        bed.breaks(rule).await;
        if let Err(error) = bed.queue.enqueue(task.clone()).await {
            assert_repeatable(&error);
            cut += 1;
            bed.proxy.rule(Rule::Pass);
            let again = bed.queue.enqueue_many(vec![task]).await.unwrap();
            repeated += u32::from(matches!(again[0], Enqueued::Repeated(_)));
        }
    }
    bed.proxy.rule(Rule::Pass);
    assert!(cut >= 4, "cut {cut} times");
    assert!(repeated >= 1, "the commit's answer was lost at least once");
    assert_eq!(bed.queue.stats().await.unwrap().pending, 2 * MESSAGES_MAX as u64);
}

async fn a_settle_cut_anywhere_is_done_once_when_it_is_repeated(server: Server) {
    let bed = bed(server).await;
    let all = 2 * MESSAGES_MAX;
    bed.queue.enqueue_many((0..all).map(|_| task()).collect()).await.unwrap();
    let claims = claim(&bed.queue, all).await.unwrap();
    assert_eq!(claims.len(), all);
    let (mut cut, mut repeated) = (0, 0);
    for (rule, claim) in breaks().zip(claims) {
        bed.breaks(rule).await;
        let settled = complete(&bed.queue, &claim.lease).await;
        bed.proxy.rule(Rule::Pass);
        if let Err(error) = settled {
            assert_repeatable(&error);
            cut += 1;
            let again = complete(&bed.queue, &claim.lease).await.unwrap();
            assert_ne!(again, Settled::LeaseLost);
            repeated += u32::from(again == Settled::Repeated);
        }
    }
    assert!(cut >= 4, "cut {cut} times");
    assert!(repeated >= 1, "the commit's answer was lost at least once");
    let stats = bed.queue.stats().await.unwrap();
    assert_eq!(stats.completed, all as u64);
    assert_eq!(stats.pending, all as u64, "each completion enqueued its follow-up once");
}

async fn a_claim_cut_anywhere_loses_no_task(server: Server) {
    let bed = bed(server).await;
    let all = 2 * MESSAGES_MAX;
    bed.queue.enqueue_many((0..all).map(|_| task()).collect()).await.unwrap();
    for rule in breaks() {
        bed.breaks(rule).await;
        if let Err(error) = claim(&bed.queue, 1).await {
            assert_repeatable(&error);
        }
        bed.proxy.rule(Rule::Pass);
        let stats = bed.queue.stats().await.unwrap();
        assert_eq!(stats.pending + stats.running, all as u64);
    }
}

async fn a_commit_whose_answer_is_lost_was_done(server: Server) {
    let bed = bed(server).await;
    let task = keyed();
    bed.proxy.rule(Rule::CutAnswerOf(COMMIT));
    assert_repeatable(&bed.queue.enqueue(task.clone()).await.unwrap_err());
    assert_eq!(bed.proxy.fired(), 1);
    let again = bed.queue.enqueue_many(vec![task.clone()]).await.unwrap();
    assert_eq!(again, [Enqueued::Repeated(task.id)]);

    let lease = claim(&bed.queue, 1).await.unwrap().pop().unwrap().lease;
    bed.proxy.rule(Rule::CutAnswerOf(COMMIT));
    assert_repeatable(&complete(&bed.queue, &lease).await.unwrap_err());
    assert_eq!(complete(&bed.queue, &lease).await.unwrap(), Settled::Repeated);
}

/// Without the repeat in `Transaction::begin` each stale connection would cost one call.
async fn after_a_restart_the_stale_connections_are_replaced_without_an_error(server: Server) {
    let bed = bed(server).await;
    warm_up(&bed.queue, 8).await;
    bed.proxy.cut().await;

    for _ in 0..3 {
        bed.queue.enqueue(task()).await.unwrap();
    }

    assert_eq!(bed.queue.stats().await.unwrap().pending, 3);
}

async fn connections_that_stayed_at_hand_and_broke_are_replaced_without_an_error(server: Server) {
    let bed = bed(server).await;
    bed.queue.enqueue(task()).await.unwrap();
    bed.proxy.cut().await;
    bed.queue.enqueue(task()).await.unwrap();
    bed.proxy.cut().await;

    assert_eq!(bed.queue.stats().await.unwrap().pending, 2);
}

/// A connection that another call gives back may break before the one that waited for it begins. Whether the call waits
/// already cannot be seen from here, so that this is tried a few times.
async fn a_broken_connection_that_was_waited_for_is_replaced_without_an_error(server: Server) {
    let bed = bed_with(server, |config| config.connections_max = 2).await;
    for _ in 0..20 {
        let (given_back, kept) =
            (bed.queue.pool().acquire().await.unwrap(), bed.queue.pool().acquire().await.unwrap());
        let queue = bed.queue.clone();
        let call = tokio::spawn(async move { queue.enqueue(task()).await });
        tokio::task::yield_now().await;

        bed.proxy.rule(Rule::CutBefore(GIVEN_BACK));
        drop(given_back);

        call.await.unwrap().unwrap();
        assert_eq!(bed.proxy.fired(), 1);
        drop(kept);
    }
}

async fn a_server_that_is_gone_is_an_error_that_passes(server: Server) {
    let bed = bed_with(server, |config| config.acquire_timeout = Duration::from_secs(5)).await;
    bed.proxy.refuse().await;
    bed.proxy.cut().await;

    let error = bed.queue.enqueue(task()).await.unwrap_err();
    assert_repeatable(&error);
    assert!(error.to_string().contains("the server does not answer"), "{error}");
    bed.proxy.resume();

    bed.queue.enqueue(task()).await.unwrap();
}

async fn a_call_outlasts_a_server_that_comes_back_in_time(server: Server) {
    let bed = bed(server).await;
    bed.proxy.refuse().await;
    bed.proxy.cut().await;
    let queue = bed.queue.clone();
    let enqueue = tokio::spawn(async move { queue.enqueue(task()).await });
    wait_until("the stale connection is closed", async || bed.queue.pool().size() <= 1).await;
    bed.proxy.resume();

    tokio::time::timeout(LIMIT, enqueue).await.unwrap().unwrap().unwrap();
}

/// Nothing says that the other end is gone: neither an end nor an error.
async fn a_network_that_swallows_packets_is_an_error_in_time(server: Server) {
    let impatient = |config: &mut MysqlConfig| {
        config.acquire_timeout = Duration::from_secs(6);
        config.lock_wait_timeout = Duration::from_secs(1);
        config.statement_timeout = Duration::from_secs(3);
    };
    let bed = bed_with(server, impatient).await;
    bed.proxy.rule(Rule::Swallow);

    let late = tokio::time::timeout(LIMIT, bed.queue.enqueue(task())).await.expect("it ends in time");
    assert_repeatable(&late.unwrap_err());
    bed.proxy.rule(Rule::Pass);

    bed.queue.enqueue(task()).await.unwrap();
}

/// Neither for each idle connection, nor once more to roll back.
async fn a_silent_server_is_waited_for_once(server: Server) {
    let patience = Duration::from_secs(6);
    let bed = bed_with(server, |config| {
        config.lock_wait_timeout = Duration::from_secs(1);
        config.statement_timeout = patience;
    })
    .await;
    for rule in [Rule::Swallow, Rule::SwallowFrom("INSERT INTO")] {
        warm_up(&bed.queue, 5).await;
        bed.proxy.rule(rule);

        let enqueue = tokio::time::timeout(2 * patience, bed.queue.enqueue(keyed()));

        assert_repeatable(&enqueue.await.expect("it waits for one statement").unwrap_err());
        bed.proxy.rule(Rule::Pass);
    }
    bed.queue.enqueue(task()).await.unwrap();
}

async fn a_call_whose_connection_is_killed_can_be_repeated(server: Server) {
    let bed = bed(server).await;
    let id = bed.queue.enqueue(task()).await.unwrap();
    let mut holder = bed.database.connect().await;
    let mut lock = holder.begin().await.unwrap();
    let hold = sqlx::query("SELECT id FROM tasks WHERE id = ? FOR UPDATE");
    hold.bind(id.as_uuid().into_bytes().to_vec()).fetch_one(&mut *lock).await.unwrap();
    let queue = bed.queue.clone();
    let cancel = tokio::spawn(async move { queue.cancel(id).await });
    let mut admin = bed.database.connect().await;
    let mut waiting = None;
    while waiting.is_none() {
        waiting = waiting_session(server, &mut admin).await;
    }
    sqlx::raw_sql(AssertSqlSafe(format!("KILL CONNECTION {}", waiting.unwrap())))
        .execute(&mut admin)
        .await
        .unwrap();

    let killed = tokio::time::timeout(LIMIT, cancel).await.unwrap().unwrap().unwrap_err();
    assert_repeatable(&killed);
    lock.rollback().await.unwrap();

    bed.queue.cancel(id).await.unwrap();
    assert_eq!(bed.queue.get(id).await.unwrap().status, Status::Cancelled);
}

/// The session of this database that runs a statement.
async fn waiting_session(server: Server, admin: &mut MySqlConnection) -> Option<i64> {
    // MySQL's view of that name cannot be read while another session's statement has bytes in it.
    let find = match server.engine {
        "mariadb" => {
            "SELECT CAST(id AS SIGNED) FROM information_schema.processlist \
             WHERE db = DATABASE() AND command = 'Execute' AND id <> CONNECTION_ID() LIMIT 1"
        }
        _ => {
            "SELECT CAST(processlist_id AS SIGNED) FROM performance_schema.threads \
             WHERE processlist_db = DATABASE() AND processlist_command = 'Execute' \
             AND processlist_id <> CONNECTION_ID() LIMIT 1"
        }
    };
    sqlx::query_scalar(find).fetch_optional(admin).await.unwrap()
}

on! {
    an_enqueue_with_a_trace_context_begins_no_transaction
    a_single_enqueue_that_is_cut_is_done_once_without_an_error
    an_enqueue_cut_anywhere_is_done_once_when_it_is_repeated
    a_settle_cut_anywhere_is_done_once_when_it_is_repeated
    a_claim_cut_anywhere_loses_no_task
    a_commit_whose_answer_is_lost_was_done
    after_a_restart_the_stale_connections_are_replaced_without_an_error
    connections_that_stayed_at_hand_and_broke_are_replaced_without_an_error
    a_broken_connection_that_was_waited_for_is_replaced_without_an_error
    a_server_that_is_gone_is_an_error_that_passes
    a_call_outlasts_a_server_that_comes_back_in_time
    a_network_that_swallows_packets_is_an_error_in_time
    a_silent_server_is_waited_for_once
    a_call_whose_connection_is_killed_can_be_repeated
}
