//! Completions that delete, on queues that are set so.

use taskqueue_conformance::assert_completed_tasks_are_deleted;
use taskqueue_mysql::{Completed, Engine, MysqlQueue};

use crate::cases::on;
use crate::support::Server;

/// By a statement of its own on these engines, and after the completion with the settings for Vitess.
async fn completed_tasks_are_deleted_where_the_queue_is_set_so(server: Server) {
    for engine in [None, Some(Engine::Vitess)] {
        let database = server.database().await;
        let mut config = database.config();
        config.options.completed = Completed::Delete;
        config.engine = engine;
        let queue = MysqlQueue::with_config(config).await.unwrap();
        queue.migrate().await.unwrap();
        assert_completed_tasks_are_deleted(&queue).await;
    }
}

on! {
    completed_tasks_are_deleted_where_the_queue_is_set_so
}
