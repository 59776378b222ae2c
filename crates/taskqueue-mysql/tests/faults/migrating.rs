//! Connecting and migrating where the server refuses something, or says nothing.

use taskqueue_mysql::{ErrorKind, Queue};

use crate::cases::on;
use crate::proxy::Rule;
use crate::support::Server;
use crate::{bed, task};

/// As MariaDB's Galera and Percona XtraDB Cluster say it.
async fn a_server_without_locks_by_name_is_migrated_all_the_same(server: Server) {
    let bed = bed(server).await;
    for number in [1235, 1105] {
        bed.breaks(Rule::RefuseOf("GET_LOCK", number)).await;
        bed.queue.migrate().await.unwrap();
        assert_eq!(bed.proxy.fired(), 1);
    }
    bed.proxy.rule(Rule::RefuseOf("GET_LOCK", 1044));
    let denied = bed.queue.migrate().await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Backend, "{denied}");
    bed.queue.enqueue(task()).await.unwrap();
}

on! {
    a_server_without_locks_by_name_is_migrated_all_the_same
}
