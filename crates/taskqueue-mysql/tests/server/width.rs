//! What claims and completions do to a row's width: InnoDB writes a row where it stands only if no column of it grows or
//! shrinks.

use sqlx::{AssertSqlSafe, MySqlConnection, Row};
use taskqueue_mysql::{ClaimRequest, Outcome, Queue, Settlement, TaskType, WorkerId};

use crate::cases::on;
use crate::support::Server;
use crate::{fresh, task};

/// Of each column whether it is NULL, and of a text how long it is.
async fn widths(connection: &mut MySqlConnection) -> Vec<(String, Option<i64>)> {
    let columns = "SELECT CAST(column_name AS char), data_type IN ('varchar', 'longtext', 'varbinary') \
         FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'tasks' ORDER BY ordinal_position";
    let columns = sqlx::query_as::<_, (String, bool)>(columns).fetch_all(&mut *connection).await.unwrap();
    let width = |(name, is_text): &(String, bool)| match is_text {
        true => format!("CAST(LENGTH({name}) AS signed)"),
        false => format!("IF({name} IS NULL, NULL, 0)"),
    };
    let widths = columns.iter().map(width).collect::<Vec<_>>().join(", ");
    let row = sqlx::query(AssertSqlSafe(format!("SELECT {widths} FROM tasks")));
    let row = row.fetch_one(&mut *connection).await.unwrap();
    columns.iter().enumerate().map(|(place, (name, _))| (name.clone(), row.get(place))).collect()
}

async fn a_claim_and_a_completion_keep_the_width_of_the_row(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    queue.enqueue(task()).await.unwrap();
    let before = widths(&mut connection).await;
    // As long as the ids that workers make of a host's name.
    let worker = WorkerId::unique("billing-7d9c5b6f4-x2x8k").unwrap();

    let request = ClaimRequest::new(worker, [TaskType::new("mail").unwrap()], 1);
    let [claim] = queue.dequeue_many(&request).await.unwrap().try_into().unwrap();
    let claimed = widths(&mut connection).await;
    queue.settle_many(vec![Settlement::new(claim.lease, Outcome::done())]).await.unwrap();

    assert_eq!(claimed, before);
    assert_eq!(widths(&mut connection).await, before);
}

on! {
    a_claim_and_a_completion_keep_the_width_of_the_row
}
