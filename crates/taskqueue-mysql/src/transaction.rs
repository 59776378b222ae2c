//! A transaction on a connection of the queue's. It begins on a connection that works, and one that is not seen to end
//! takes its connection along, so that nothing is left open in the pool. It knows no statement but these.

use std::ops::{Deref, DerefMut};

use sqlx::{Executor, MySqlConnection};
use taskqueue_sql::{Access, Attempt, InUse};
use tokio::time::Instant;

use crate::answers::Answers;
use crate::error::{failure, is_late, is_unfit};
use crate::pool::DriverPool;

/// How many connections are given up beyond those that were idle: nobody says which ones are new, and what others use
/// meanwhile comes back as well.
const SPARE: usize = 2;

/// Where the queue's calls get their connections.
pub(crate) type Connections = taskqueue_sql::Connections<DriverPool>;

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    connection: InUse<DriverPool>,
    answers: Answers,
    began: Instant,
}

impl Transaction {
    /// Begins one. What was idle may have been cut off, or its server made read-only, since it was last used: such a
    /// connection is closed and the next one is taken, until there were more than had been idle. Nothing has been done by
    /// then, so that this repeats nothing. A server that does not answer ends it: the call would wait as long for each of the
    /// others.
    pub(crate) async fn begin(connections: &Connections, answers: Answers, access: Access) -> Attempt<Self> {
        let DriverPool(pool) = connections.pool();
        // The pool's own count passes zero for a moment when a connection changes hands.
        let idle_max = pool.options().get_max_connections() as usize;
        let mut left = pool.num_idle().min(idle_max) + connections.kept() + SPARE;
        loop {
            let connection = connections.acquire().await.map_err(failure)?;
            let mut transaction = Self { connection, answers, began: Instant::now() };
            match transaction.say(answers.engine.begin(access)).await {
                Ok(()) => return Ok(transaction),
                Err(error) if left == 0 || is_late(&error) || !is_unfit(&error) => {
                    return Err(failure(error));
                }
                Err(_) => left -= 1,
            }
        }
    }

    /// Commits. When the answer is lost it may or may not have been done.
    pub(crate) async fn commit(mut self) -> Attempt<()> {
        match self.say("COMMIT").await {
            Ok(()) => {
                self.connection.done();
                Ok(())
            }
            Err(error) => {
                if !is_unfit(&error) {
                    self.rollback().await;
                }
                Err(failure(error))
            }
        }
    }

    /// Ends without a trace; also after a lock wait timeout, which by itself undoes its statement and keeps the
    /// transaction's locks. What has taken as long as one statement may is closed instead, which ends it as well: its last
    /// statement may be without an answer, and a ROLLBACK would wait behind that for as long again.
    pub(crate) async fn rollback(mut self) {
        let may_be_late = self.began.elapsed() >= self.answers.statement_timeout;
        if !may_be_late && self.say("ROLLBACK").await.is_ok() {
            self.connection.done();
        }
    }

    async fn say(&mut self, what: &'static str) -> sqlx::Result<()> {
        self.answers.take((**self).execute(what)).await.map(drop)
    }
}

impl Deref for Transaction {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }
}
