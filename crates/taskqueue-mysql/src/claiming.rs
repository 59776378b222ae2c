//! A claim from end to end: find and lock, read, change, answer. Where to look is `search.rs`'s business, what its statements are
//! `claim.rs`'s.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use sqlx::MySqlConnection;
use taskqueue_core::clock::micros;
use taskqueue_core::{Claim, Shard, State, TaskId, TaskType, Timestamp};
use taskqueue_sql::{Attempt, Claiming, Column, Field, Row, TASK_COLUMNS, changed};

use crate::burial::{self, Unreadable};
use crate::claim::claim_sets;
use crate::dialect::MysqlDialect;
use crate::error::failure;
use crate::run::Query;
use crate::search::{search, type_of};
use crate::width;
use crate::wire::{self, bind_ids};

/// How often a claim looks that finds only what cannot be read: its transaction locks sums that settles wait for.
const ROUNDS_MAX: usize = 20;
/// The most that the column of a count holds.
const COUNT_MAX: i64 = i32::MAX as i64;

/// Claims; answers in claim order. The engines cannot answer with what an update left, so the
/// rows that were read under the locks are brought to what the update makes of them.
pub(crate) async fn claim(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claim>> {
    if claiming.is_extra {
        let gate = dialect.query(&dialect.literal().gate);
        if dialect.rows(gate, &mut *connection).await?.is_empty() {
            return Ok(Vec::new());
        }
    }
    for _ in 0..ROUNDS_MAX {
        let mut found = search(dialect, &mut *connection, shard, claiming).await?;
        let claimed =
            Claimed { claiming, now: found.now, until: found.now + micros(claiming.visibility_timeout) };
        let (claims, unreadable) = claimed.read_all(std::mem::take(&mut found.tasks))?;
        claimed.write(dialect, &mut *connection, shard, &claims).await?;
        // Where nothing could be read, what stands behind it comes next, or with the next claim. What is buried is not found again.
        let buried = burial::bury(dialect, &mut *connection, shard, found.now, unreadable).await?;
        found.tell(dialect.cursors(), shard);
        if !claims.is_empty() || buried == 0 {
            claimed.hold(dialect, connection, shard, &claims).await?;
            return Ok(claims);
        }
    }
    Ok(Vec::new())
}

/// What a claim makes of its rows. The time is the server's, read with the heads.
struct Claimed<'c> {
    claiming: &'c Claiming,
    now: i64,
    until: i64,
}

/// Where a row stands in the claim order: queue rank, queue time, id.
type ClaimPlace = (i64, Timestamp, TaskId);

impl Claimed<'_> {
    /// The claims in claim order, and what cannot be read.
    fn read_all(&self, tasks: Vec<Vec<Field>>) -> Attempt<(Vec<Claim>, Vec<Unreadable>)> {
        let (mut claims, mut unreadable) = (Vec::with_capacity(tasks.len()), Vec::new());
        for fields in tasks {
            let task_type = self.task_type(type_of(&fields));
            let (place @ (_, ready_at, id), row) = self.read(fields)?;
            match row.claim(ready_at) {
                Ok(claim) => claims.push((place, claim)),
                Err(failure) => unreadable.push(Unreadable { id, task_type: task_type.cloned(), failure }),
            }
        }
        claims.sort_unstable_by_key(|(place, _)| *place);
        Ok((claims.into_iter().map(|(_, claim)| claim).collect(), unreadable))
    }

    /// The one of the types by which a task was found.
    fn task_type(&self, name: &str) -> Option<&TaskType> {
        let types = &self.claiming.types;
        types.binary_search_by(|one| one.as_str().cmp(name)).ok().map(|place| &types[place])
    }

    /// The row as the claim leaves it, and its place.
    fn read(&self, read: Vec<Field>) -> Attempt<(ClaimPlace, Row)> {
        let id = Row::new(read[..1].to_vec()).id(0)?;
        let mut read = read.into_iter();
        let mut fields = Vec::with_capacity(TASK_COLUMNS.len());
        for column in TASK_COLUMNS {
            let before = if claim_sets(column) { None } else { read.next() };
            fields.push(self.field(column, before.unwrap_or(Field::Null)));
        }
        let mut order = Row::new(read.collect());
        // What is no time says nothing, and the claim sets it anew.
        let now = Timestamp::from_timestamp_micros(self.now).unwrap_or_default();
        let place = (order.integer(0)?, order.time(1).unwrap_or(now), id);
        Ok((place, Row::new(fields)))
    }

    /// What the claim makes of a column that was this before.
    fn field(&self, column: Column, before: Field) -> Field {
        match (column, before) {
            (Column::Status, _) => Field::Integer(State::Running.code().into()),
            (Column::StartedAt | Column::UpdatedAt, _) => Field::Integer(self.now),
            (Column::WorkerId, _) => Field::Text(self.claiming.worker_id.as_str().to_owned()),
            (Column::LeaseToken, _) => Field::Integer(self.claiming.token.get()),
            (Column::LeaseUntil, _) => Field::Integer(self.until),
            (Column::Attempts, Field::Integer(count)) => Field::Integer(count.min(COUNT_MAX - 1) + 1),
            (Column::LeaseNumber, Field::Integer(count)) => Field::Integer(count.saturating_add(1)),
            (_, before) => before,
        }
    }

    /// Claims the tasks, which are locked.
    async fn write(
        &self,
        dialect: &MysqlDialect,
        connection: &mut MySqlConnection,
        shard: Shard,
        claims: &[Claim],
    ) -> Attempt<()> {
        let mut ids: Vec<TaskId> = claims.iter().map(|claim| claim.task.id).collect();
        ids.sort_unstable();
        let times = self.times()?;
        let text = |ids| dialect.literal().claim(ids);
        let bind = |query: Query<'static>, ids: &[TaskId]| {
            bind_ids(self.bind(query, times).bind(shard.number()), ids)
        };
        let matched = dialect.run_of(connection, &ids, text, bind).await.map_err(failure)?;
        changed(matched, ids.len())
    }

    /// Puts the claim among the leases.
    async fn hold(
        &self,
        dialect: &MysqlDialect,
        connection: &mut MySqlConnection,
        shard: Shard,
        claims: &[Claim],
    ) -> Attempt<()> {
        let types: BTreeSet<&TaskType> = claims.iter().map(|claim| &claim.task.task_type).collect();
        if types.is_empty() {
            return Ok(());
        }
        let (token, (now, until)) = (self.claiming.token, self.times()?);
        let sql = dialect.literal().leases.hold(types.len());
        let query = types.into_iter().fold(dialect.query(&sql), |query, task_type| {
            let query = query.bind(token.get()).bind(task_type.as_str()).bind(shard.number());
            query.bind(now).bind(until)
        });
        dialect.run(query, connection).await.map_err(failure)?;
        dialect.unsettled().claimed(shard, token, claims.len());
        if claims.iter().all(|claim| claim.task.unique_key.is_none()) {
            dialect.unsettled().without_keys(token);
        }
        Ok(())
    }

    /// When it is, and until when the leases last, as the driver binds them.
    fn times(&self) -> Attempt<(NaiveDateTime, NaiveDateTime)> {
        Ok((wire::time(self.now)?, wire::time(self.until)?))
    }

    fn bind<'q>(&self, query: Query<'q>, (now, until): (NaiveDateTime, NaiveDateTime)) -> Query<'q> {
        let query = query.bind(now).bind(self.claiming.token.get()).bind(until).bind(now);
        query.bind(width::filled_up(&self.claiming.worker_id)).bind(now).bind(now)
    }
}
