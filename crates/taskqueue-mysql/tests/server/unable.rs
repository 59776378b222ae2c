//! What a server says when it cannot serve for now: the caller hears that it passes. And what it never takes, which does not.

use sqlx::{AssertSqlSafe, Executor, MySqlConnection};
use taskqueue_mysql::{Engine, Error, ErrorKind, MysqlQueue, NewTask, Outcome, Queue};

use crate::cases::on;
use crate::support::Server;
use crate::{claim, fresh, task};

/// What an enqueue answers that the server refuses so.
async fn refused(queue: &MysqlQueue, connection: &mut MySqlConnection, number: u16, text: &str) -> Error {
    let text = text.replace('\'', "''");
    let says = format!(
        "CREATE TRIGGER unable BEFORE INSERT ON tasks FOR EACH ROW \
         SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{text}'"
    );
    connection.execute(AssertSqlSafe(says)).await.unwrap();
    let error = queue.enqueue(task()).await.unwrap_err();
    connection.execute("DROP TRIGGER unable").await.unwrap();
    error
}

fn assert_passes(error: &Error, number: u16) {
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{number}: {error}");
}

async fn a_server_that_cannot_serve_now_is_an_error_that_passes(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    for number in [
        1021, 1037, 1038, 1040, 1041, 1047, 1053, 1114, 1158, 1206, 1290, 1317, 1461, 1615, 1792, 1836, 1874,
        1927, 1969, 3024, 3032, 3100, 3168, 4031,
    ] {
        assert_passes(&refused(&queue, &mut connection, number, "not now").await, number);
    }
    queue.enqueue(task()).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 1, "nothing of the others is left");
}

/// The storage engine's number stands in the text: MySQL's and MariaDB's way.
async fn of_what_the_storage_engine_says_a_full_disk_passes(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    for error in ["28 - 'No space left on device'", "28 \"No space left on device\""] {
        let text = format!("Got error {error} from storage engine");
        assert_passes(&refused(&queue, &mut connection, 1030, &text).await, 1030);
    }
    let damaged = "Got error 126 - 'Index is corrupted' from storage engine";
    let error = refused(&queue, &mut connection, 1030, damaged).await;
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Backend, false), "{error}");
}

/// What vtgate says while a shard has no primary, on these engines.
async fn a_shard_of_vitess_without_a_primary_is_an_error_that_passes(server: Server) {
    let (plain, database) = fresh(server).await;
    let mut config = database.config();
    config.engine = Some(Engine::Vitess);
    let vitess = MysqlQueue::with_config(config).await.unwrap();
    let mut connection = database.connect().await;
    for number in [1105, 2002, 2003, 2006, 2013] {
        let passing = refused(&vitess, &mut connection, number, "not serving").await;
        assert_passes(&passing, number);
        assert!(passing.to_string().contains("not serving"), "{number}: {passing}");
        let error = refused(&plain, &mut connection, number, "unknown").await;
        assert_eq!(error.kind(), ErrorKind::Backend, "{number}: {error}");
    }
    vitess.enqueue(task()).await.unwrap();
    assert_eq!(vitess.stats().await.unwrap().pending, 1);
}

/// The server may close the connection while it is sent. That looks like one that broke, and would be tried again for ever.
async fn a_payload_that_is_larger_than_the_server_takes_is_refused_before_it_is_sent(server: Server) {
    let (plain, database) = fresh(server).await;
    let mut config = database.config();
    config.options.payload_bytes_max = 1 << 30;
    let queue = MysqlQueue::with_config(config).await.unwrap();
    let mut connection = database.connect().await;
    let packet = sqlx::query_scalar("SELECT CAST(@@max_allowed_packet AS SIGNED)");
    let packet: i64 = packet.fetch_one(&mut connection).await.unwrap();
    let text = format!("\"{}\"", "x".repeat(usize::try_from(packet).unwrap()));
    let large = || NewTask::raw("mail", text.clone()).unwrap();
    plain.enqueue(task()).await.unwrap();
    let lease = claim(&plain, 1).await.remove(0).lease;

    let enqueued = queue.enqueue(large()).await.unwrap_err();
    let settled = queue.settle(lease.clone(), Outcome::done().then(large())).await.unwrap_err();
    let said =
        refused(&plain, &mut connection, 1153, "Got a packet bigger than 'max_allowed_packet' bytes").await;

    for error in [enqueued, settled, said] {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::InvalidPayload, false), "{error}");
    }
    queue.settle(lease, Outcome::done()).await.unwrap();
    plain.enqueue(task()).await.unwrap();
}

on! {
    a_payload_that_is_larger_than_the_server_takes_is_refused_before_it_is_sent
    a_shard_of_vitess_without_a_primary_is_an_error_that_passes
    a_server_that_cannot_serve_now_is_an_error_that_passes
    of_what_the_storage_engine_says_a_full_disk_passes
}
