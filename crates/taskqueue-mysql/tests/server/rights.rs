//! What a user may do who has the rights that work takes, and no others.

use sqlx::{AssertSqlSafe, Executor};
use taskqueue_mysql::{MysqlConfig, MysqlQueue, Queue, TaskId};

use crate::cases::on;
use crate::support::Server;
use crate::{fresh, task};

async fn where_there_is_nothing_to_do_who_may_only_read_and_write_may_migrate(server: Server) {
    let (owner, database) = fresh(server).await;
    let mut connection = database.connect().await;
    let id = TaskId::generate().as_uuid().simple().to_string();
    // The longest name of a user has 32 characters.
    let user = format!("tq_{}", &id[8..]);
    let create = format!(
        "CREATE USER {user} IDENTIFIED BY 'pw'; \
         SET @grant = CONCAT('GRANT SELECT, INSERT, UPDATE, DELETE ON ', DATABASE(), '.* TO {user}'); \
         PREPARE s FROM @grant; EXECUTE s"
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(create))).await.unwrap();
    let url = database.url();
    let (_, place) = url.rsplit_once('@').unwrap();
    let config = MysqlConfig::url(&format!("mysql://{user}:pw@{place}")).unwrap();
    let queue = MysqlQueue::with_config(config).await.unwrap();

    queue.migrate().await.unwrap();

    queue.enqueue(task()).await.unwrap();
    connection.execute("DELETE FROM tasks_shards").await.unwrap();
    let denied = queue.migrate().await.unwrap_err();
    assert!(denied.to_string().contains("denied"), "what is to be done is not passed over: {denied}");
    owner.migrate().await.unwrap();
    queue.migrate().await.unwrap();
    connection.execute(AssertSqlSafe(format!("DROP USER {user}"))).await.unwrap();
}

async fn a_table_of_the_application_is_refused_and_nothing_is_made_beside_it(server: Server) {
    let (_, database) = fresh(server).await;
    let mut connection = database.connect().await;
    connection.execute("CREATE TABLE notes_paused (title text)").await.unwrap();
    let mut config = MysqlConfig::url(&database.url()).unwrap();
    config.options.table = "notes".parse().unwrap();
    let queue = MysqlQueue::with_config(config).await.unwrap();

    for _ in 0..2 {
        let error = queue.migrate().await.unwrap_err();
        assert!(error.to_string().contains("the table notes_paused is there and is no queue's"), "{error}");
    }

    let made = connection.fetch_all("SHOW TABLES LIKE 'notes%'").await.unwrap();
    assert_eq!(made.len(), 1, "the application's own");
}

on! {
    where_there_is_nothing_to_do_who_may_only_read_and_write_may_migrate
    a_table_of_the_application_is_refused_and_nothing_is_made_beside_it
}
