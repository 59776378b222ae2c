//! What is PostgreSQL's own about opening, waking and leaving a queue, on the server of `TASKQUEUE_POSTGRES_URL`; each
//! test has a database of its own.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool};
use taskqueue_postgres::{
    ClaimRequest, Cleanup, ErrorKind, NewTask, PostgresConfig, PostgresQueue, Queue, Redrive, Task,
    TaskFilter, TaskType, WakeListener, WakeUpMode, WorkerId,
};
use tokio::time::Instant;

const URL_VARIABLE: &str = "TASKQUEUE_POSTGRES_URL";
const CHANNEL: &str = "taskqueue:tasks";
/// The shortest time between two notifications of a queue.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(10);
/// Far more than anything here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A database that is dropped with this value.
struct Database {
    server: String,
    name: String,
    /// For looking at it from outside the queues.
    pool: PgPool,
}

impl Database {
    async fn create() -> Self {
        let server = std::env::var(URL_VARIABLE).unwrap_or_else(|_| {
            panic!("no server: set {URL_VARIABLE} to the URL of a user that may create databases")
        });
        let name = format!("taskqueue_listen_{:016x}", rand::random::<u64>());
        run(&server, format!("CREATE DATABASE {name}")).await.expect("the user may create databases");
        let options = PgConnectOptions::from_str(&server).expect("the variable holds a URL").database(&name);
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options);
        Self { server, name, pool }
    }

    fn config(&self) -> PostgresConfig {
        let end = self.server.rfind('/').expect("the URL has a path");
        PostgresConfig::url(&format!("{}/{}", &self.server[..end], self.name)).expect("it is a URL")
    }

    async fn queue(&self) -> PostgresQueue {
        self.queue_with(|_| {}).await
    }

    async fn queue_with(&self, set: impl FnOnce(&mut PostgresConfig)) -> PostgresQueue {
        let mut config = self.config();
        set(&mut config);
        let queue = PostgresQueue::with_config(config).await.expect("the server is there");
        queue.migrate().await.expect("the database takes the tables");
        queue
    }

    /// How many sessions other than this one's own match.
    async fn sessions(&self, condition: &str) -> i64 {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND {condition}"
        );
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.expect("the server answers")
    }

    async fn until_sessions(&self, condition: &str, count: i64) {
        until(async || self.sessions(condition).await == count).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, sql) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("the host lets the test start a runtime").block_on(run(&server, sql))
        });
        // What a failed test leaves behind goes with the server.
        drop(dropping.join());
    }
}

async fn run(url: &str, sql: String) -> sqlx::Result<()> {
    let mut connection: PgConnection = PgConnectOptions::from_str(url)?.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.expect("the condition is never met");
}

async fn soon<T>(waited_for: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, waited_for).await.expect("it never comes")
}

fn task() -> NewTask {
    NewTask::raw("welcome", "{}").expect("the task is valid")
}

fn welcome() -> TaskType {
    TaskType::new("welcome").expect("the name is valid")
}

/// A signal of the queue that is connected to the server: its first notification says so.
async fn connected(queue: &PostgresQueue) -> WakeListener {
    let mut listener = queue.wake_up().listen();
    soon(listener.notified()).await;
    listener
}

/// What arrives on the channel until `end` does.
async fn heard(listener: &mut PgListener, database: &Database, end: &str) -> Vec<String> {
    let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(end);
    notify.execute(&database.pool).await.expect("the server answers");
    let mut payloads = Vec::new();
    loop {
        let payload = soon(listener.recv()).await.expect("the connection lives").payload().to_owned();
        if payload == end {
            return payloads;
        }
        payloads.push(payload);
    }
}

async fn ears(database: &Database) -> PgListener {
    let mut ears = PgListener::connect_with(&database.pool).await.expect("the server is there");
    ears.listen(CHANNEL).await.expect("it can be listened to");
    ears
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_elsewhere_hears_of_an_enqueue_at_once() {
    let database = Database::create().await;
    let (here, elsewhere) = (database.queue().await, database.queue().await);
    let mut listener = connected(&elsewhere).await;

    let mut latencies = Vec::new();
    for _ in 0..40 {
        here.enqueue(task()).await.expect("the server takes it");
        let enqueued = Instant::now();
        soon(listener.notified()).await;
        latencies.push(enqueued.elapsed());
        // The next one comes after a quiet time, so that it is not held back to be sent with others.
        until(async || enqueued.elapsed() > NOTIFY_INTERVAL * 2).await;
    }

    latencies.sort_unstable();
    println!("enqueue answered -> woken elsewhere: p50 {:?}, max {:?}", latencies[20], latencies[39]);
    assert!(latencies[20] < Duration::from_secs(2), "{latencies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_elsewhere_hear_of_a_task_for_which_one_here_waits_too() {
    let database = Database::create().await;
    let (here, elsewhere) = (database.queue().await, database.queue().await);
    let (mut own, mut others) = (connected(&here).await, connected(&elsewhere).await);

    let (enqueued, (), ()) =
        tokio::join!(here.enqueue(task()), soon(own.notified()), soon(others.notified()));

    enqueued.expect("the server takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_enqueues_cause_few_notifications() {
    let database = Database::create().await;
    let queue = database.queue().await;
    let mut ears = ears(&database).await;

    let began = Instant::now();
    for _ in 0..1000 {
        queue.enqueue(task()).await.expect("the server takes it");
    }
    queue.close().await;
    let notifications = heard(&mut ears, &database, "end").await.len();

    let slots = began.elapsed().as_millis() / NOTIFY_INTERVAL.as_millis();
    println!("{notifications} notifications for 1000 enqueues in {:?}", began.elapsed());
    assert!(notifications >= 1);
    assert!(notifications as u128 <= slots + 2, "{notifications} in {slots} intervals");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_closed_right_after_an_enqueue_has_announced_it() {
    let database = Database::create().await;
    let queue = database.queue().await;
    let mut ears = ears(&database).await;

    queue.enqueue(task()).await.expect("the server takes it");
    queue.close().await;

    assert_eq!(heard(&mut ears, &database, "end").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_survives_the_loss_of_its_connection() {
    let database = Database::create().await;
    let (here, elsewhere) = (database.queue().await, database.queue().await);
    let mut listener = connected(&elsewhere).await;

    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    database.pool.execute(terminate).await.expect("the server answers");
    // Listening again, it rouses for what it may have missed.
    soon(listener.notified()).await;
    here.enqueue(task()).await.expect("the server takes it");

    soon(listener.notified()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_connects_with_what_the_services_pool_was_given_last() {
    let database = Database::create().await;
    let here = database.queue().await;
    let role = format!("taskqueue_role_{:016x}", rand::random::<u64>());
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'first'; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    );
    database.pool.execute(AssertSqlSafe(create)).await.expect("the user may create roles");
    let options = PgConnectOptions::clone(&database.pool.connect_options()).username(&role).password("first");
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options.clone());
    let elsewhere =
        PostgresQueue::with_config(PostgresConfig::pool(pool.clone())).await.expect("it is let in");
    let mut listener = connected(&elsewhere).await;

    let change = format!("ALTER ROLE {role} PASSWORD 'second'");
    database.pool.execute(AssertSqlSafe(change)).await.expect("the server answers");
    pool.set_connect_options(options.password("second"));
    let terminate =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    database.pool.execute(AssertSqlSafe(terminate)).await.expect("the server answers");
    // Listening again, it rouses for what it may have missed.
    soon(listener.notified()).await;
    here.enqueue(task()).await.expect("the server takes it");
    soon(listener.notified()).await;

    elsewhere.close().await;
    pool.close().await;
    let end = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    database.pool.execute(AssertSqlSafe(end)).await.expect("the server answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_queue_leaves_no_connection() {
    let database = Database::create().await;
    let queue = database.queue().await;
    let listener = connected(&queue).await;
    database.until_sessions("query LIKE 'LISTEN%'", 1).await;

    drop(queue);

    database.until_sessions("query NOT LIKE '%pg_stat_activity%'", 0).await;
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_queue_leaves_no_connection_though_it_is_still_held() {
    let database = Database::create().await;
    let queue = database.queue().await;
    let _listener = connected(&queue).await;
    database.until_sessions("query LIKE 'LISTEN%'", 1).await;

    soon(queue.close()).await;

    database.until_sessions("query NOT LIKE '%pg_stat_activity%'", 0).await;
    assert_eq!(queue.enqueue(task()).await.expect_err("it is closed").kind(), ErrorKind::QueueClosed);
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_nothing_is_sent_and_nothing_listened_to() {
    let database = Database::create().await;
    let queue = database.queue_with(|config| config.wake_up = WakeUpMode::Off).await;
    let mut ears = ears(&database).await;

    let mut listener = queue.wake_up().listen();
    queue.enqueue(task()).await.expect("the server takes it");
    soon(listener.notified()).await;
    queue.wake();

    assert_eq!(heard(&mut ears, &database, "end").await, [""; 0]);
    queue.close().await;
    assert_eq!(heard(&mut ears, &database, "end").await, [""; 0]);
    // The one is this test's.
    assert_eq!(database.sessions("query LIKE 'LISTEN%'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_transaction_announces_nothing_until_it_is_asked_to() {
    let database = Database::create().await;
    let queue = database.queue_with(|_| {}).await;
    let mut ears = ears(&database).await;

    let mut transaction = queue.pool().begin().await.expect("the server is there");
    queue.enqueue_in(&mut transaction, task()).await.expect("the server takes it");
    transaction.commit().await.expect("it commits");
    assert_eq!(heard(&mut ears, &database, "committed").await, [""; 0]);
    queue.wake();
    queue.close().await;

    assert_eq!(heard(&mut ears, &database, "woken").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_in_two_schemas_do_not_see_each_other() {
    let database = Database::create().await;
    let billing = database.queue_with(|config| config.schema = Some("billing".to_owned())).await;
    let order = database.queue_with(|config| config.schema = Some("order".to_owned())).await;

    let id = billing.enqueue(task()).await.expect("the server takes it");
    let request = ClaimRequest::new(WorkerId::new("here").expect("it is valid"), vec![welcome()], 10);

    assert_eq!(order.get(id).await.expect_err("it is elsewhere").kind(), ErrorKind::TaskNotFound);
    assert_eq!(order.dequeue_many(&request).await.expect("the server answers").len(), 0);
    uses_every_verb(&order).await;
    let claims = billing.dequeue_many(&request).await.expect("the server answers");
    assert_eq!(claims.iter().map(|claim| claim.task.id).collect::<Vec<_>>(), [id]);
    billing
        .complete(claims.into_iter().next().expect("there is one").lease)
        .await
        .expect("the lease is live");
    uses_every_verb(&billing).await;
    assert_eq!(ids(&billing).await, [id]);
}

/// None of them fails, so all find their tables.
async fn uses_every_verb(queue: &PostgresQueue) {
    queue.pause(&welcome()).await.expect("pause");
    assert_eq!(queue.paused().await.expect("paused"), [welcome()]);
    queue.resume(&welcome()).await.expect("resume");
    queue.stats().await.expect("stats");
    queue.promote_due(10).await.expect("promote");
    queue.reclaim_stale(10).await.expect("reclaim");
    queue.redrive(&Redrive::Any { task_type: None, limit: 10 }).await.expect("redrive");
    queue.cleanup(Cleanup::new(LIMIT, 10)).await.expect("cleanup");
}

async fn ids(queue: &PostgresQueue) -> Vec<taskqueue_postgres::TaskId> {
    let page = queue.list(&TaskFilter::default()).await.expect("list");
    page.tasks.iter().map(|task: &Task| task.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_newer_than_the_program_is_refused() {
    let database = Database::create().await;
    let queue = database.queue().await;
    let newer = "INSERT INTO tasks_migrations (version, name) VALUES (1000, 'later')";
    database.pool.execute(newer).await.expect("the table is there");

    let error = queue.migrate().await.expect_err("the database is ahead");

    assert!(error.to_string().contains("version 1000"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_service_leaves_in_the_queues_pool_does_not_stay_open() {
    let database = Database::create().await;
    let queue = database.queue().await;

    let mut connection = queue.pool().acquire().await.expect("the server is there");
    connection.execute("BEGIN").await.expect("it begins");
    connection.execute("SELECT 1").await.expect("the server answers");
    database.until_sessions("state LIKE 'idle in transaction%'", 1).await;
    drop(connection);

    database.until_sessions("state LIKE 'idle in transaction%'", 0).await;
    queue.enqueue(task()).await.expect("the pool still serves");
}
