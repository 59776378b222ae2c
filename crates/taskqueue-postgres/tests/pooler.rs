//! A queue behind a pooler in transaction mode, whose URL is in `TASKQUEUE_POSTGRES_URL` as it is for the conformance
//! suite. `xtask/images/pgbouncer.sh` is a recipe for one.

use taskqueue_postgres::{
    ClaimRequest, NewTask, Pooler, PostgresConfig, PostgresQueue, Queue, TaskType, WorkerId,
};
use tokio::task::JoinSet;

const URL_VARIABLE: &str = "TASKQUEUE_POSTGRES_URL";

fn config() -> PostgresConfig {
    let url = std::env::var(URL_VARIABLE).unwrap_or_else(|_| {
        panic!("no pooler: set {URL_VARIABLE} to the URL of a database behind PgBouncer in transaction mode")
    });
    let mut config = PostgresConfig::url(&url).expect("the variable holds a URL");
    config.schema = Some(format!("pooler_{:016x}", rand::random::<u64>()));
    config
}

async fn open(config: PostgresConfig) -> PostgresQueue {
    PostgresQueue::with_config(config).await.expect("the pooler is there")
}

/// Enqueues 50 tasks, and answers how many it could claim and complete meanwhile.
async fn work(queue: PostgresQueue) -> u64 {
    let welcome = TaskType::new("welcome").expect("the name is valid");
    let request = ClaimRequest::new(WorkerId::new("here").expect("it is valid"), vec![welcome], 5);
    let mut completed = 0;
    for number in 0..50 {
        let task = NewTask::raw("welcome", number.to_string()).expect("the task is valid");
        queue.enqueue(task).await.expect("the server takes it");
        for claim in queue.dequeue_many(&request).await.expect("the server answers") {
            queue.complete(claim.lease).await.expect("the lease is live");
            completed += 1;
        }
    }
    completed
}

/// The schema goes with the test.
async fn forget(queue: &PostgresQueue, schema: Option<String>) {
    let drop = format!("DROP SCHEMA {} CASCADE", schema.expect("it was set"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(queue.pool()).await.expect("the schema is the test's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_is_found_and_every_claim_and_settle_works_through_it() {
    let config = config();
    let (one, other) = (open(config.clone()).await, open(config.clone()).await);
    for queue in [&one, &other] {
        let shown = format!("{queue:?}");
        assert!(shown.contains("prepared_statements: false") && shown.contains("listens: false"), "{shown}");
    }
    one.migrate().await.expect("the database takes the tables");

    let (mine, others) = tokio::join!(work(one.clone()), work(other.clone()));

    let stats = one.stats().await.expect("the server answers");
    assert_eq!((stats.completed, mine + others + stats.pending), (mine + others, 100));
    forget(&one, config.schema).await;
}

/// Each look is two statements or three, which a pooler may give to two server processes.
#[tokio::test(flavor = "multi_thread")]
async fn many_processes_at_once_look_through_a_pooler_for_what_is_to_migrate() {
    let config = config();
    let queue = open(config.clone()).await;
    queue.migrate().await.expect("the database takes the tables");

    let mut looking = JoinSet::new();
    for _ in 0..20 {
        let queue = open(config.clone()).await;
        looking.spawn(async move {
            for _ in 0..20 {
                queue.migrate().await.expect("there is nothing to do");
            }
        });
    }
    looking.join_all().await;
    forget(&queue, config.schema).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_settings_say_of_the_pooler_is_not_asked() {
    let mut config = config();
    config.pooler = Pooler::Direct;

    let shown = format!("{:?}", open(config).await);

    assert!(shown.contains("prepared_statements: true") && shown.contains("listens: true"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_pooler_that_keeps_track_of_prepared_statements_tasks_are_claimed_and_settled_by_them() {
    let mut config = config();
    config.pooler = Pooler::TransactionPrepared;
    let queue = open(config.clone()).await;
    let shown = format!("{queue:?}");
    assert!(shown.contains("prepared_statements: true") && shown.contains("listens: false"), "{shown}");
    queue.migrate().await.expect("the database takes the tables");

    let (mine, others) = tokio::join!(work(queue.clone()), work(open(config.clone()).await));

    let stats = queue.stats().await.expect("the server answers");
    assert_eq!((stats.completed, mine + others + stats.pending), (mine + others, 100));
    forget(&queue, config.schema).await;
}
