//! What nodes of a cluster answer when they meet others, or lose them.

use sqlx::Executor;
use taskqueue_mysql::Queue;

use crate::cases::on;
use crate::proxy::Rule;
use crate::support::Server;
use crate::{COMMIT, assert_repeatable, bed, bed_with, keyed};

/// Galera and a group say at the commit what other servers say before it.
async fn a_commit_that_meets_others_is_repeated(server: Server) {
    let bed = bed_with(server, |settings| settings.contention_retries_max = 2).await;
    for number in [1213, 3101] {
        bed.breaks(Rule::RefuseOf(COMMIT, number)).await;
        let error = bed.queue.enqueue(keyed()).await.unwrap_err();
        assert_repeatable(&error);
        assert_eq!(bed.proxy.fired(), 3, "{number}");
    }
}

/// As on a node that loses its majority meanwhile. Whether it was done nobody says.
async fn a_commit_that_goes_wrong_ends_its_connection_and_can_be_repeated(server: Server) {
    let bed = bed(server).await;
    for number in [1047, 1180, 3100] {
        let task = keyed();
        bed.breaks(Rule::RefuseOf(COMMIT, number)).await;
        let before = bed.proxy.connections();
        assert_repeatable(&bed.queue.enqueue(task.clone()).await.unwrap_err());
        assert_eq!(bed.proxy.fired(), 1, "{number}");
        bed.proxy.rule(Rule::Pass);
        bed.queue.enqueue(task).await.unwrap();
        assert!(bed.proxy.connections() > before, "{number}: the connection is not used again");
    }
    assert_eq!(bed.queue.stats().await.unwrap().pending, 3);
}

async fn a_migrator_that_meets_another_begins_anew(server: Server) {
    let bed = bed(server).await;
    bed.database.connect().await.execute("DELETE FROM tasks_migrations").await.unwrap();
    bed.breaks(Rule::RefuseOf("INSERT INTO tasks_migrations", 1213)).await;
    assert_repeatable(&bed.queue.migrate().await.unwrap_err());
    assert_eq!(bed.proxy.fired(), 11, "not for ever");
    bed.proxy.rule(Rule::Pass);
    bed.queue.migrate().await.unwrap();
}

on! {
    a_commit_that_meets_others_is_repeated
    a_commit_that_goes_wrong_ends_its_connection_and_can_be_repeated
    a_migrator_that_meets_another_begins_anew
}
