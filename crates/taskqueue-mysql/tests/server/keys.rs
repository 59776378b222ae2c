//! The rows among the unique keys: each is there as long as its task is not finished, and no longer.

use std::time::Duration;

use sqlx::{Connection, Executor, MySqlConnection};
use taskqueue_mysql::{
    Completed, Engine, Enqueued, ErrorKind, Lease, MysqlConfig, MysqlQueue, NewTask, Outcome, Queue, Redrive,
    Retry, Settlement, TaskId,
};

use crate::cases::on;
use crate::support::{Database, Server};
use crate::{claim, fresh, task};

fn keyed(key: &str) -> NewTask {
    task().unique_key(key)
}

async fn held(database: &Database) -> Vec<String> {
    let all = sqlx::query_scalar::<_, Vec<u8>>("SELECT unique_key FROM tasks_keys ORDER BY unique_key");
    let keys = all.fetch_all(&mut database.connect().await).await.unwrap();
    keys.into_iter().map(|key| String::from_utf8(key).unwrap()).collect()
}

/// Enqueues tasks with these keys and one without, and claims them in this order.
async fn running(queue: &MysqlQueue, keys: &[&str]) -> Vec<Lease> {
    let tasks: Vec<NewTask> = keys.iter().copied().map(keyed).chain([task()]).collect();
    queue.enqueue_many(tasks).await.unwrap();
    let claims = claim(queue, keys.len() + 1).await;
    assert_eq!(claims.len(), keys.len() + 1);
    claims.into_iter().map(|claim| claim.lease).collect()
}

async fn complete(queue: &MysqlQueue, leases: impl IntoIterator<Item = Lease>) {
    let completed = leases.into_iter().map(|lease| Settlement::new(lease, Outcome::done()));
    queue.settle_many(completed.collect()).await.unwrap();
}

async fn a_key_is_held_until_its_task_is_finished_in_whatever_way(server: Server) {
    for (completed, engine) in [
        (Completed::Keep, None),
        (Completed::Delete, None),
        (Completed::Keep, Some(Engine::Vitess)),
        (Completed::Delete, Some(Engine::Vitess)),
    ] {
        let database = server.database().await;
        let mut config = database.config();
        (config.options.completed, config.engine) = (completed, engine);
        let queue = MysqlQueue::with_config(config).await.unwrap();
        queue.migrate().await.unwrap();
        let keys = ["cancelled", "completed", "dead", "failed", "released", "snoozed"];
        let [cancelled, completed, dead, failed, released, snoozed, without] =
            running(&queue, &keys).await.try_into().unwrap();
        assert_eq!(held(&database).await, keys);

        let settlements = [
            (completed, Outcome::done()),
            (dead, Outcome::permanent("never")),
            (failed, Outcome::Fail { error: "no".to_owned(), retry: Retry::ByPolicy }),
            (released, Outcome::Release),
            (snoozed, Outcome::Snooze { delay: Duration::from_secs(60) }),
            (without, Outcome::done()),
        ];
        let settlements = settlements.map(|(lease, outcome)| Settlement::new(lease, outcome));
        queue.settle_many(settlements.into()).await.unwrap();
        queue.cancel(cancelled.task_id).await.unwrap();

        assert_eq!(held(&database).await, ["failed", "released", "snoozed"]);
    }
}

async fn a_completion_of_nothing_but_tasks_with_keys_lets_them_go(server: Server) {
    let (queue, database) = fresh(server).await;
    queue.enqueue_many(["a", "b", "c"].map(keyed).into()).await.unwrap();
    let claims = claim(&queue, 10).await;
    complete(&queue, claims.into_iter().map(|claim| claim.lease)).await;
    assert!(held(&database).await.is_empty());
}

async fn whoever_settles_lets_the_key_go(server: Server) {
    let (queue, database) = fresh(server).await;
    let leases = running(&queue, &["k"]).await;
    let other = MysqlQueue::with_config(database.config()).await.unwrap();
    other.complete(leases[0].clone()).await.unwrap();
    assert!(held(&database).await.is_empty(), "of the claim it knows nothing");
}

async fn a_settle_that_is_too_late_lets_no_key_go(server: Server) {
    let (queue, database) = fresh(server).await;
    let leases = running(&queue, &["k", "l"]).await;
    queue.cancel(leases[0].task_id).await.unwrap();
    queue.enqueue(keyed("k")).await.unwrap();

    complete(&queue, leases).await;

    assert_eq!(held(&database).await, ["k"], "that of the new task");
}

async fn a_key_is_let_go_with_the_last_reclaim_and_held_again_with_the_redrive(server: Server) {
    let database = server.database().await;
    let mut config: MysqlConfig = database.config();
    config.options.visibility_timeout = Duration::from_millis(1);
    config.options.max_reclaims = 0;
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    running(&queue, &["k"]).await;
    // The server's clock may tick between the two.
    while queue.stats().await.unwrap().running > 0 {
        queue.reclaim_stale(10).await.unwrap();
    }
    assert!(held(&database).await.is_empty());

    assert_eq!(queue.redrive(&Redrive::Any { task_type: None, limit: 10 }).await.unwrap(), 2);

    assert_eq!(held(&database).await, ["k"]);
    assert_eq!(queue.enqueue(keyed("k")).await.unwrap_err().kind(), ErrorKind::DuplicateUnique);
}

async fn a_settle_under_a_lost_lease_keeps_the_key_of_a_task_that_runs_again(server: Server) {
    let database = server.database().await;
    let mut config: MysqlConfig = database.config();
    config.options.visibility_timeout = Duration::from_millis(1);
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    let lost = running(&queue, &["k"]).await;
    while queue.stats().await.unwrap().running > 0 {
        queue.reclaim_stale(10).await.unwrap();
    }
    assert_eq!(claim(&queue, 2).await.len(), 2);

    let [late, ..] = &lost[..] else { panic!("two were claimed") };
    queue.settle_many(vec![Settlement::new(late.clone(), Outcome::done())]).await.unwrap();

    assert_eq!(held(&database).await, ["k"]);
}

async fn a_repeated_id_holds_no_other_key(server: Server) {
    let (queue, database) = fresh(server).await;
    let id = queue.enqueue(task()).await.unwrap();

    let repeated = vec![keyed("new"), keyed("of the repeated").id(id)];
    let answers = queue.enqueue_many(repeated).await.unwrap();

    assert!(matches!(answers[..], [Enqueued::Created(_), Enqueued::Repeated(of)] if of == id), "{answers:?}");
    assert_eq!(held(&database).await, ["new"]);
}

/// REPEATABLE READ shows the transaction the state in which it began.
async fn a_callers_transaction_lets_the_key_go_of_a_task_that_it_cannot_see(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    let seen: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM tasks").fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(seen, 0);
    let leases = running(&queue, &["k"]).await;

    let completed = queue.complete_in(&mut transaction, leases[0].clone()).await;
    transaction.commit().await.unwrap();

    // MariaDB lets a transaction change nothing that it cannot see.
    assert_eq!(completed.is_ok(), server.engine != "mariadb", "{completed:?}");
    assert_eq!(held(&database).await.is_empty(), completed.is_ok());
}

async fn a_callers_transaction_keeps_no_other_key_waiting(server: Server) {
    let (queue, database) = fresh(server).await;
    let leases = running(&queue, &["b", "d", "f"]).await;
    let mut connection = database.connect().await;
    // REPEATABLE READ locks what is between rows.
    let mut transaction = connection.begin().await.unwrap();
    queue.complete_in(&mut transaction, leases[1].clone()).await.unwrap();
    queue.enqueue_in(&mut transaction, keyed("h")).await.unwrap();

    queue.enqueue_many(["a", "c", "e", "g", "i"].map(keyed).into()).await.unwrap();
    complete(&queue, [0, 2].map(|place: usize| leases[place].clone())).await;

    assert_eq!(queue.contention_retries(), 0, "nothing stood in their way");
    transaction.commit().await.unwrap();
    assert_eq!(held(&database).await, ["a", "c", "e", "g", "h", "i"]);
}

async fn the_key_of_a_task_that_was_deleted_by_hand_is_free(server: Server) {
    let (queue, database) = fresh(server).await;
    queue.enqueue_many(["k", "l"].map(keyed).into()).await.unwrap();
    let mut connection = database.connect().await;
    sqlx::query("DELETE FROM tasks WHERE unique_key = 'k'").execute(&mut connection).await.unwrap();

    let found = queue.holder(&keyed("k").task_type, "k").await.unwrap();
    let answers = queue.enqueue_many(["k", "l"].map(keyed).into()).await.unwrap();

    assert_eq!(found, None, "a key is held by a task");
    let [Enqueued::Created(created), Enqueued::Duplicate(_)] = answers[..] else { panic!("{answers:?}") };
    let holder: Vec<u8> = sqlx::query_scalar("SELECT id FROM tasks_keys WHERE unique_key = 'k'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(holder, TaskId::as_uuid(&created).as_bytes());
}

/// The transaction reads as of a moment before the other one's enqueues.
async fn an_older_snapshot_hides_nothing_that_is_in_the_way(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = older(server, &database).await;
    let mut transaction = connection.begin().await.unwrap();
    read(&mut transaction).await;
    let holder = queue.enqueue(keyed("k")).await.unwrap();
    let stored = task();
    queue.enqueue(stored.clone()).await.unwrap();

    let taken = queue.enqueue_in(&mut transaction, keyed("k")).await.unwrap_err();
    assert_eq!((taken.kind(), taken.task_id()), (ErrorKind::DuplicateUnique, Some(holder)), "{taken}");
    assert_eq!(queue.enqueue_in(&mut transaction, stored.clone()).await.unwrap(), stored.id);
    queue.enqueue_in(&mut transaction, keyed("free")).await.unwrap();

    transaction.commit().await.unwrap();
    assert_eq!(held(&database).await, ["free", "k"]);
    assert_eq!(queue.stats().await.unwrap().pending, 3);
}

async fn an_older_snapshot_hides_neither_a_key_nor_an_id_from_a_batch(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = older(server, &database).await;
    let mut transaction = connection.begin().await.unwrap();
    read(&mut transaction).await;
    let holder = queue.enqueue(keyed("k")).await.unwrap();
    let stored = task();
    queue.enqueue(stored.clone()).await.unwrap();
    let free = [task(), keyed("l"), keyed("l")];

    let batch = [vec![keyed("k"), stored.clone()], free.to_vec()].concat();
    let answers = queue.enqueue_many_in(&mut transaction, batch).await.unwrap();

    transaction.commit().await.unwrap();
    let expected = [
        Enqueued::Duplicate(holder),
        Enqueued::Repeated(stored.id),
        Enqueued::Created(free[0].id),
        Enqueued::Created(free[1].id),
        Enqueued::Duplicate(free[1].id),
    ];
    assert_eq!(answers, expected);
    assert_eq!(held(&database).await, ["k", "l"]);
    assert_eq!(queue.stats().await.unwrap().pending, 4);
}

/// It was finished, and another one took its key.
async fn a_stored_id_is_repeated_whoever_holds_its_key_behind_an_older_snapshot(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = older(server, &database).await;
    let mut transaction = connection.begin().await.unwrap();
    read(&mut transaction).await;
    let finished = keyed("k");
    queue.enqueue(finished.clone()).await.unwrap();
    let claims = claim(&queue, 1).await;
    complete(&queue, claims.into_iter().map(|claim| claim.lease)).await;
    let holder = queue.enqueue(keyed("k")).await.unwrap();

    let answers = queue.enqueue_many_in(&mut transaction, vec![finished.clone(), keyed("k")]).await.unwrap();

    transaction.commit().await.unwrap();
    assert_eq!(answers, [Enqueued::Repeated(finished.id), Enqueued::Duplicate(holder)]);
}

/// A look for the id would lock the gap at the end of all ids.
async fn a_key_that_an_older_snapshot_hides_keeps_no_enqueue_waiting(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = older(server, &database).await;
    let mut transaction = connection.begin().await.unwrap();
    read(&mut transaction).await;
    queue.enqueue(keyed("k")).await.unwrap();
    let taken = queue.enqueue_in(&mut transaction, keyed("k")).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::DuplicateUnique, "{taken}");

    queue.enqueue(task()).await.unwrap();
    queue.enqueue_many(vec![keyed("l"), task()]).await.unwrap();

    assert_eq!(queue.contention_retries(), 0, "nothing stood in their way");
    transaction.commit().await.unwrap();
}

/// A session whose transactions go on where something is newer than what they read.
async fn older(server: Server, database: &Database) -> MySqlConnection {
    let mut connection = database.connect().await;
    if server.engine == "mariadb" {
        connection.execute("SET SESSION innodb_snapshot_isolation = OFF").await.unwrap();
    }
    connection
}

/// MariaDB's way from 11.6.2 on: what is newer than the snapshot ends the transaction.
async fn a_server_that_keeps_to_the_snapshot_is_asked_for_again_in_a_new_transaction(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    connection.execute("SET SESSION innodb_snapshot_isolation = ON").await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    read(&mut transaction).await;
    let holder = queue.enqueue(keyed("k")).await.unwrap();

    let stale = queue.enqueue_in(&mut transaction, keyed("k")).await.unwrap_err();
    assert_eq!((stale.kind(), stale.is_transient()), (ErrorKind::Unavailable, true), "{stale}");
    assert!(stale.to_string().contains("new transaction"), "{stale}");
    transaction.rollback().await.unwrap();

    let mut transaction = connection.begin().await.unwrap();
    let taken = queue.enqueue_in(&mut transaction, keyed("k")).await.unwrap_err();
    assert_eq!((taken.kind(), taken.task_id()), (ErrorKind::DuplicateUnique, Some(holder)), "{taken}");
}

/// What a transaction reads first is as of which it reads.
async fn read(connection: &mut MySqlConnection) {
    sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM tasks").fetch_one(connection).await.unwrap();
}

on! {
    mariadb_only, crate::support::MARIADB,
    a_server_that_keeps_to_the_snapshot_is_asked_for_again_in_a_new_transaction
}
on! {
    an_older_snapshot_hides_neither_a_key_nor_an_id_from_a_batch
    a_stored_id_is_repeated_whoever_holds_its_key_behind_an_older_snapshot
    a_key_that_an_older_snapshot_hides_keeps_no_enqueue_waiting
    an_older_snapshot_hides_nothing_that_is_in_the_way
    a_key_is_held_until_its_task_is_finished_in_whatever_way
    a_completion_of_nothing_but_tasks_with_keys_lets_them_go
    whoever_settles_lets_the_key_go
    a_settle_that_is_too_late_lets_no_key_go
    a_key_is_let_go_with_the_last_reclaim_and_held_again_with_the_redrive
    a_settle_under_a_lost_lease_keeps_the_key_of_a_task_that_runs_again
    a_repeated_id_holds_no_other_key
    a_callers_transaction_lets_the_key_go_of_a_task_that_it_cannot_see
    a_callers_transaction_keeps_no_other_key_waiting
    the_key_of_a_task_that_was_deleted_by_hand_is_free
}
