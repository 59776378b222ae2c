//! A server that became read-only, as after a failover.

use taskqueue_mysql::Queue;

use crate::cases::on;
use crate::proxy::Rule;
use crate::support::Server;
use crate::{assert_repeatable, bed, task, warm_up};

/// The old primary still takes connections and reads; a new connection finds the new one.
async fn connections_to_a_server_that_became_read_only_are_replaced(server: Server) {
    let bed = bed(server).await;
    warm_up(&bed.queue, 5).await;
    let before = bed.proxy.connections();
    bed.proxy.rule(Rule::ReadOnlyBelow(before));

    for _ in 0..3 {
        bed.queue.enqueue(task()).await.unwrap();
    }

    assert!(bed.proxy.fired() >= 1);
    assert!(bed.proxy.connections() > before);
    assert_eq!(bed.queue.stats().await.unwrap().pending, 3);
}

async fn a_server_that_stays_read_only_is_an_error_that_passes(server: Server) {
    let bed = bed(server).await;
    warm_up(&bed.queue, 5).await;
    bed.proxy.rule(Rule::ReadOnlyBelow(usize::MAX));

    let error = bed.queue.enqueue(task()).await.unwrap_err();
    assert_repeatable(&error);
    assert!(error.to_string().contains("read-only"), "{error}");
    assert!(bed.proxy.fired() <= 12, "it does not go on connecting: {}", bed.proxy.fired());
    assert_eq!(bed.queue.stats().await.unwrap().pending, 0, "reading goes on");
    bed.proxy.rule(Rule::Pass);

    bed.queue.enqueue(task()).await.unwrap();
}

on! {
    connections_to_a_server_that_became_read_only_are_replaced
    a_server_that_stays_read_only_is_an_error_that_passes
}
