//! The rows among the leases: each is there as long as a task of its claim may run, and not much longer.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, MySqlPool};
use taskqueue_mysql::{
    ClaimRequest, Lease, MysqlConfig, MysqlQueue, Outcome, Queue, Retry, Settlement, Status, TaskType,
    WorkerId,
};

use crate::cases::on;
use crate::support::{Database, Server};
use crate::{fresh, task, wait_until};

/// The tokens that are among the leases, once for each type of their claim.
async fn tokens(database: &Database) -> Vec<i64> {
    let all = sqlx::query_scalar("SELECT token FROM tasks_leases ORDER BY token, type");
    all.fetch_all(&mut database.connect().await).await.unwrap()
}

async fn claim(queue: &MysqlQueue, tasks: usize) -> Vec<Lease> {
    queue.enqueue_many((0..tasks).map(|_| task()).collect()).await.unwrap();
    let claims = crate::claim(queue, tasks).await;
    assert_eq!(claims.len(), tasks);
    claims.into_iter().map(|claim| claim.lease).collect()
}

async fn settle(queue: &MysqlQueue, leases: &[Lease], outcome: Outcome) {
    let of_each = |lease: &Lease| Settlement::new(lease.clone(), outcome.clone());
    queue.settle_many(leases.iter().map(of_each).collect()).await.unwrap();
}

/// A completion that has nothing to do with the claims before it. What it has claimed stays among the leases.
async fn complete_another(queue: &MysqlQueue) -> i64 {
    let [lease] = claim(queue, 1).await.try_into().unwrap();
    queue.complete(lease.clone()).await.unwrap();
    lease.token.get()
}

async fn a_claim_whose_tasks_are_all_settled_leaves_the_leases_with_the_next_settle(server: Server) {
    let (queue, database) = fresh(server).await;
    let leases = claim(&queue, 5).await;
    let retry = Outcome::Fail { error: "no".to_owned(), retry: Retry::ByPolicy };
    settle(&queue, &leases[..2], Outcome::done()).await;
    settle(&queue, &leases[2..3], retry).await;
    settle(&queue, &leases[3..4], Outcome::permanent("never")).await;
    settle(&queue, &leases[4..], Outcome::Snooze { delay: Duration::from_secs(60) }).await;
    assert_eq!(tokens(&database).await, [leases[0].token.get()]);

    let other = complete_another(&queue).await;

    assert_eq!(tokens(&database).await, [other]);
}

async fn a_claim_stays_among_the_leases_while_one_of_its_tasks_runs(server: Server) {
    let (queue, database) = fresh(server).await;
    let leases = claim(&queue, 3).await;
    settle(&queue, &leases[..2], Outcome::done()).await;
    // A lost reply, and a task that is settled by nobody.
    settle(&queue, &leases[..2], Outcome::done()).await;
    queue.cancel(leases[2].task_id).await.unwrap();
    settle(&queue, &leases[2..], Outcome::done()).await;

    complete_another(&queue).await;

    assert!(tokens(&database).await.contains(&leases[0].token.get()));
}

/// Ends every other session in the database, as those to a server end that another one takes over from.
async fn end_sessions(database: &Database) {
    let mut beside = database.connect().await;
    let others = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    let mut ids = Vec::new();
    // MySQL does not list sessions while the statement of one of them is no text.
    wait_until("the sessions are listed", async || {
        let found = sqlx::query_scalar::<_, i64>(others).fetch_all(&mut beside).await;
        found.map(|found| ids = found).is_ok()
    })
    .await;
    for id in ids {
        // It may have ended by itself.
        drop(sqlx::raw_sql(AssertSqlSafe(format!("KILL {id}"))).execute(&mut beside).await);
    }
}

/// Completes and lets that be forgotten, as by a server that takes over and has not heard of it.
async fn complete_and_lose_it(database: &Database, queue: &MysqlQueue, leases: &[Lease]) {
    settle(queue, leases, Outcome::done()).await;
    end_sessions(database).await;
    let lose = "UPDATE tasks SET status = 2, completed_at = '1000-01-01', \
                lease_until = UTC_TIMESTAMP(6) + INTERVAL 60 SECOND WHERE status = 3";
    sqlx::raw_sql(lose).execute(&mut database.connect().await).await.unwrap();
}

async fn a_claim_stays_among_the_leases_when_the_server_forgets_its_settle(server: Server) {
    let (own, database) = fresh(server).await;
    let pool = MySqlPool::connect(&database.url()).await.unwrap();
    let of_service = MysqlQueue::with_config(MysqlConfig::pool(pool)).await.unwrap();
    for (queue, pool) in [(own, "its own pool"), (of_service, "the service's pool")] {
        let leases = claim(&queue, 2).await;
        complete_and_lose_it(&database, &queue, &leases).await;

        let other = complete_another(&queue).await;
        complete_another(&queue).await;

        let tokens = tokens(&database).await;
        assert!(tokens.contains(&leases[0].token.get()), "it runs again: {pool}");
        assert!(!tokens.contains(&other), "that one is settled: {pool}");
    }
}

async fn a_claim_whose_settle_the_caller_undoes_stays_among_the_leases(server: Server) {
    let (queue, database) = fresh(server).await;
    let leases = claim(&queue, 1).await;
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    queue.complete_in(&mut transaction, leases[0].clone()).await.unwrap();
    transaction.rollback().await.unwrap();

    complete_another(&queue).await;

    assert!(tokens(&database).await.contains(&leases[0].token.get()));
}

async fn a_callers_transaction_keeps_no_claim_and_no_completion_waiting(server: Server) {
    let (queue, database) = fresh(server).await;
    let leases = claim(&queue, 1).await;
    for _ in 0..20 {
        complete_another(&queue).await;
    }
    let mut connection = database.connect().await;
    // REPEATABLE READ locks what is between rows.
    sqlx::query("SET SESSION innodb_lock_wait_timeout = 1").execute(&mut connection).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    queue.complete_in(&mut transaction, leases[0].clone()).await.unwrap();

    for _ in 0..20 {
        complete_another(&queue).await;
    }

    assert_eq!(queue.contention_retries(), 0, "nothing stood in their way");
    transaction.commit().await.unwrap();
}

async fn a_claim_of_several_types_is_reclaimed_whole_and_then_forgotten(server: Server) {
    let database = server.database().await;
    let mut config: MysqlConfig = database.config();
    config.options.visibility_timeout = Duration::from_millis(1);
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    let types = ["mail", "fax"].map(|name| TaskType::new(name).unwrap());
    let mut tasks = vec![task(), task()];
    tasks[1].task_type = types[1].clone();
    queue.enqueue_many(tasks).await.unwrap();
    let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), types, 10);
    let claims = queue.dequeue_many(&request).await.unwrap();
    assert_eq!(tokens(&database).await, [claims[0].lease.token.get(); 2]);

    // The server's clock may tick between the two.
    while queue.stats().await.unwrap().running > 0 {
        queue.reclaim_stale(10).await.unwrap();
    }
    queue.reclaim_stale(10).await.unwrap();

    assert!(tokens(&database).await.is_empty());
}

/// Two transactions that each go through slots in an order of their own would wait for each other.
async fn all_completions_of_a_callers_transaction_are_summed_up_in_one_slot(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    for lease in claim(&queue, 16).await {
        queue.complete_in(&mut transaction, lease).await.unwrap();
    }

    let slots = "SELECT COUNT(DISTINCT slot) FROM tasks_totals WHERE slot < 0";
    let slots: i64 = sqlx::query_scalar(slots).fetch_one(&mut *transaction).await.unwrap();

    assert_eq!(slots, 1);
    transaction.commit().await.unwrap();
    assert_eq!(queue.stats().await.unwrap().completed, 16);
}

/// Such rows stay behind where callers complete tasks in transactions of their own: nobody tells whether those commit.
async fn more_settled_claims_than_one_check_takes_keep_no_ended_lease_waiting(server: Server) {
    let (queue, database) = fresh(server).await;
    let [lease] = claim(&queue, 1).await.try_into().unwrap();
    let mut beside = database.connect().await;
    let settled: Vec<String> = (1..=2_500)
        .map(|token| format!("({token}, 'mail', 0, NOW(6), UTC_TIMESTAMP(6) - INTERVAL 1 HOUR)"))
        .collect();
    let settled = format!(
        "UPDATE tasks SET lease_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 2; \
         UPDATE tasks_leases SET check_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND; \
         INSERT INTO tasks_leases (token, type, shard, claimed_at, check_at) VALUES {}",
        settled.join(", ")
    );
    sqlx::raw_sql(AssertSqlSafe(settled)).execute(&mut beside).await.unwrap();

    queue.reclaim_stale(1_000).await.unwrap();

    assert_eq!(queue.get(lease.task_id).await.unwrap().status, Status::Pending);
    assert_eq!(tokens(&database).await, [lease.token.get()], "the next check forgets it");
}

/// Those that are put off stay locked until its transaction ends, and heartbeats wait for them.
async fn a_reclaim_puts_off_no_more_live_claims_than_one_check_takes(server: Server) {
    let (queue, database) = fresh(server).await;
    let digits = "(SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
                  UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let running = format!(
        "INSERT INTO tasks (shard, id, type, status, priority, queue_rank, max_retries, lease_token, lease_until, payload) \
         SELECT 0, UNHEX(LPAD(HEX(n), 32, '0')), 'mail', 2, 5, 0, 3, n, UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, '{{}}' \
         FROM (SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n \
         FROM {digits} AS a, {digits} AS b, {digits} AS c, {digits} AS e) AS numbers WHERE n <= 2500; \
         INSERT INTO tasks_leases (token, type, shard, claimed_at, check_at) \
         SELECT lease_token, type, 0, queue_at, UTC_TIMESTAMP(6) - INTERVAL 1 SECOND FROM tasks"
    );
    let mut beside = database.connect().await;
    sqlx::raw_sql(AssertSqlSafe(running)).execute(&mut beside).await.unwrap();

    queue.reclaim_stale(10).await.unwrap();

    let put_off = "SELECT COUNT(*) FROM tasks_leases WHERE check_at > UTC_TIMESTAMP(6)";
    assert_eq!(sqlx::query_scalar::<_, i64>(put_off).fetch_one(&mut beside).await.unwrap(), 1_000);
}

on! {
    a_reclaim_puts_off_no_more_live_claims_than_one_check_takes
    all_completions_of_a_callers_transaction_are_summed_up_in_one_slot
    more_settled_claims_than_one_check_takes_keep_no_ended_lease_waiting
    a_claim_whose_tasks_are_all_settled_leaves_the_leases_with_the_next_settle
    a_claim_stays_among_the_leases_while_one_of_its_tasks_runs
    a_claim_stays_among_the_leases_when_the_server_forgets_its_settle
    a_claim_whose_settle_the_caller_undoes_stays_among_the_leases
    a_callers_transaction_keeps_no_claim_and_no_completion_waiting
    a_claim_of_several_types_is_reclaimed_whole_and_then_forgotten
}
