//! Connecting and migrating where the server refuses something, or says nothing.

use std::time::Duration;

use sqlx::Executor;
use taskqueue_mysql::{ErrorKind, MysqlQueue, Queue};
use tokio::time::timeout;

use crate::cases::on;
use crate::proxy::Rule;
use crate::support::Server;
use crate::{LIMIT, assert_repeatable, bed, bed_with, task};

/// As MariaDB's Galera and Percona XtraDB Cluster say it.
async fn a_server_without_locks_by_name_is_migrated_all_the_same(server: Server) {
    let bed = bed(server).await;
    let mut connection = bed.database.connect().await;
    // Where there is nothing to do nobody asks for one.
    let undone = "DELETE FROM tasks_migrations";
    for number in [1235, 1105] {
        connection.execute(undone).await.unwrap();
        bed.breaks(Rule::RefuseOf("GET_LOCK", number)).await;
        bed.queue.migrate().await.unwrap();
        assert_eq!(bed.proxy.fired(), 1);
    }
    connection.execute(undone).await.unwrap();
    bed.proxy.rule(Rule::RefuseOf("GET_LOCK", 1044));
    let denied = bed.queue.migrate().await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Backend, "{denied}");
    bed.queue.enqueue(task()).await.unwrap();
}

async fn a_silent_server_is_not_waited_for_when_connecting_asking_and_migrating(server: Server) {
    let mut config = None;
    let bed = bed_with(server, |settings| {
        settings.lock_wait_timeout = Duration::from_secs(1);
        settings.statement_timeout = Duration::from_secs(3);
        config = Some(settings.clone());
    })
    .await;

    bed.proxy.rule(Rule::SwallowFrom("VERSION()"));
    let connects = MysqlQueue::with_config(config.expect("they were set"));
    let connected = timeout(LIMIT, connects).await.expect("it ends in time");
    assert_repeatable(&connected.unwrap_err());
    bed.proxy.rule(Rule::SwallowFrom("VERSION()"));
    let asked = timeout(LIMIT, bed.queue.backend()).await.expect("it ends in time");
    assert_repeatable(&asked.unwrap_err());
    bed.proxy.rule(Rule::SwallowFrom("SELECT version"));
    let migrated = timeout(LIMIT, bed.queue.migrate()).await.expect("it ends in time");
    assert_repeatable(&migrated.unwrap_err());
    bed.proxy.rule(Rule::Pass);

    bed.queue.migrate().await.unwrap();
}

on! {
    a_silent_server_is_not_waited_for_when_connecting_asking_and_migrating
    a_server_without_locks_by_name_is_migrated_all_the_same
}
