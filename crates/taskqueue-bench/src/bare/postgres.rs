//! The bound for PostgreSQL: 14 columns, a bigint key, one partial index; prepared statements on bare connections.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use super::{Bare, CYCLE_BATCH, CYCLE_CONNECTIONS, Finish, Signal};
use crate::connections;
use crate::tasks::{PAYLOAD, TYPE};

/// Pages are filled to half, because that is best here, too: claims take 7 % less of the server's time, completions 27 %. Those of
/// the key's index as well: claims take 5 % less.
const SCHEMA: &str = "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY \
    PRIMARY KEY WITH (fillfactor = 50), type text NOT NULL, status smallint NOT NULL DEFAULT 0, priority int NOT NULL, payload text NOT NULL, \
    scheduled_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz, completed_at timestamptz, \
    retry_after timestamptz, attempts int NOT NULL DEFAULT 0, max_retries int NOT NULL DEFAULT 3, last_error text, \
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()) \
    WITH (fillfactor = 50); CREATE INDEX bare_pending ON bare (priority, scheduled_at, id) WHERE status = 0";
const INSERT: &str = "INSERT INTO bare (type, priority, payload) VALUES ($1, $2, $3)";
const INSERT_NOTIFYING: &str = "WITH i AS (INSERT INTO bare (type, priority, payload) VALUES ($1, $2, $3)) \
    SELECT pg_notify('bare', '')";
const INSERT_MANY: &str = "INSERT INTO bare (type, priority, payload) \
    SELECT * FROM unnest($1::text[], $2::int4[], $3::text[])";
/// `= ANY(ARRAY(…))` runs the locking subquery once; a join by id has been seen to fall to a sequential scan.
const CLAIM: &str = "UPDATE bare SET status = 1, attempts = attempts + 1, started_at = now(), updated_at = now() \
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM bare WHERE status = 0 ORDER BY priority, scheduled_at, id \
    LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING id, type, payload, attempts";
const COMPLETE: &str =
    "UPDATE bare SET status = 2, completed_at = now(), updated_at = now() WHERE id = ANY($1)";
const DELETE: &str = "DELETE FROM bare WHERE id = ANY($1)";

/// Bare connections to one database.
pub(crate) struct BarePostgres {
    url: String,
    clients: Vec<Arc<Prepared>>,
}

/// One connection and its statements.
struct Prepared {
    client: Client,
    insert: Statement,
    insert_many: Statement,
    claim: Statement,
    complete: Statement,
    delete: Statement,
}

impl BarePostgres {
    /// Makes the table, and connects so often.
    pub(crate) async fn connect(url: &str, connections: usize) -> Result<Self> {
        let first = connections::postgres(url).await?;
        first.batch_execute("DROP TABLE IF EXISTS bare").await?;
        first.batch_execute(SCHEMA).await?;
        let connecting = (0..connections.max(CYCLE_CONNECTIONS)).map(|_| prepared(url));
        let clients = try_join_all(connecting).await?.into_iter().map(Arc::new).collect();
        Ok(Self { url: url.to_owned(), clients })
    }
}

async fn prepared(url: &str) -> Result<Prepared> {
    let client = connections::postgres(url).await?;
    let prepare = |sql| client.prepare(sql);
    let (insert, insert_many) = (prepare(INSERT).await?, prepare(INSERT_MANY).await?);
    let (claim, complete, delete) = (prepare(CLAIM).await?, prepare(COMPLETE).await?, prepare(DELETE).await?);
    Ok(Prepared { insert, insert_many, claim, complete, delete, client })
}

impl Prepared {
    /// Claims; answers the ids. A worker needs the payload, so it is read.
    async fn claim(&self, limit: usize) -> Result<Vec<i64>> {
        let rows = self.client.query(&self.claim, &[&i64::try_from(limit)?]).await?;
        let id = |row: &tokio_postgres::Row| {
            let _payload: &str = row.try_get(2)?;
            Ok(row.try_get(0)?)
        };
        rows.iter().map(id).collect()
    }

    async fn drain(self: Arc<Self>, finish: Finish) -> Result<usize> {
        let mut tasks = 0;
        loop {
            let ids = self.claim(CYCLE_BATCH).await?;
            if ids.is_empty() {
                return Ok(tasks);
            }
            tasks += ids.len();
            let finished = if finish == Finish::Keep { &self.complete } else { &self.delete };
            self.client.execute(finished, &[&ids]).await?;
        }
    }

    async fn insert(&self) -> Result<()> {
        self.client.execute(&self.insert, &[&TYPE, &5_i32, &PAYLOAD]).await?;
        Ok(())
    }
}

#[async_trait]
impl Bare for BarePostgres {
    async fn fill(&self, tasks: usize) -> Result<()> {
        let fill = format!(
            "INSERT INTO bare (type, priority, payload) SELECT '{TYPE}', 5, '{PAYLOAD}' \
             FROM generate_series(1, {tasks}); ANALYZE bare"
        );
        Ok(self.clients[0].client.batch_execute(&fill).await?)
    }

    async fn drain(&self, finish: Finish) -> Result<usize> {
        let drains = self.clients.iter().take(CYCLE_CONNECTIONS).map(Arc::clone);
        let drained = try_join_all(drains.map(|client| tokio::spawn(client.drain(finish)))).await?;
        drained.into_iter().sum()
    }

    async fn insert(&self, client: usize) -> Result<()> {
        self.clients[client].insert().await
    }

    async fn insert_in_transaction(&self, client: usize) -> Result<()> {
        let prepared = &self.clients[client];
        prepared.client.batch_execute("BEGIN").await?;
        prepared.insert().await?;
        Ok(prepared.client.batch_execute("COMMIT").await?)
    }

    async fn insert_many(&self, client: usize, tasks: usize) -> Result<()> {
        let (types, priorities, payloads) = (vec![TYPE; tasks], vec![5_i32; tasks], vec![PAYLOAD; tasks]);
        let prepared = &self.clients[client];
        prepared.client.execute(&prepared.insert_many, &[&types, &priorities, &payloads]).await?;
        Ok(())
    }

    async fn claim(&self, client: usize, limit: usize) -> Result<Vec<i64>> {
        self.clients[client].claim(limit).await
    }

    async fn complete(&self, client: usize, keys: &[i64]) -> Result<()> {
        let prepared = &self.clients[client];
        prepared.client.execute(&prepared.complete, &[&keys]).await?;
        Ok(())
    }

    async fn latencies(&self, signal: Signal, tasks: usize, pause: Duration) -> Result<Vec<Duration>> {
        let (producer, consumer) = (&self.clients[0], Arc::clone(&self.clients[1]));
        let (signals, mut signalled) = mpsc::unbounded_channel::<()>();
        let _listener = match signal {
            Signal::InProcess => None,
            Signal::FromServer => Some(listen(&self.url, signals.clone()).await?),
        };
        let (claims, mut claimed) = mpsc::unbounded_channel();
        let consumer = tokio::spawn(async move {
            while signalled.recv().await.is_some() {
                let ids = consumer.claim(1).await?;
                claims.send((Instant::now(), ids.len()))?;
            }
            anyhow::Ok(())
        });
        let notifying = producer.client.prepare(INSERT_NOTIFYING).await?;
        let mut latencies = Vec::with_capacity(tasks);
        for _ in 0..tasks {
            let start = Instant::now();
            match signal {
                Signal::InProcess => {
                    producer.insert().await?;
                    signals.send(())?;
                }
                Signal::FromServer => {
                    producer.client.query(&notifying, &[&TYPE, &5_i32, &PAYLOAD]).await?;
                }
            }
            let (at, tasks) = claimed.recv().await.context("the consumer ended")?;
            ensure!(tasks == 1, "what was inserted is claimed");
            latencies.push(at - start);
            tokio::time::sleep_until(start + pause).await;
        }
        consumer.abort();
        Ok(latencies)
    }
}

/// Passes on each notification, until what is answered is dropped.
async fn listen(url: &str, signals: mpsc::UnboundedSender<()>) -> Result<Client> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_)) && signals.send(()).is_err() {
                return;
            }
        }
    });
    client.batch_execute("LISTEN bare").await?;
    Ok(client)
}
