//! Finding ready tasks and locking them: ahead of the cursors, and from the start of the index where that does not do. What
//! the statements are is `claim.rs`'s business, where the cursors stand is that of `taskqueue_sql::cursor`.
//!
//! A type has cursors of its own. A search that did not find enough is made again, wider.

use std::iter::repeat;
use std::slice::from_ref;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use sqlx::MySqlConnection;
use taskqueue_core::clock::micros;
use taskqueue_core::{Shard, TaskType, Timestamp};
use taskqueue_sql::cursor::{AheadOf, Cursors, Gap, LOOK_BACK, Look, Places, Scan};
use taskqueue_sql::{Attempt, Claiming, Field, integer};
use tokio::time::Instant;

use crate::dialect::MysqlDialect;
use crate::run::Query;

/// The most places of a type that a search starts from, and the most types of one that goes by places; with more it looks
/// everywhere. Each range has to be planned: 50 types in four ranks took longer by half than without.
const PLACES_MAX: usize = 8;
const TYPES_MAX: usize = 8;

/// What a search found and locked.
#[derive(Debug)]
pub(crate) struct Found<'c> {
    /// The fields as they were.
    pub(crate) tasks: Vec<Vec<Field>>,
    /// The server's time.
    pub(crate) now: i64,
    starts: Vec<Start<'c>>,
    /// The last places of all types.
    places: Places,
    is_enough: bool,
    /// Whether more may be ready where it looked.
    is_cut_off: bool,
    began: Instant,
    ended: Instant,
}

/// What was locked of several types.
#[derive(Debug)]
struct Taken {
    /// The fields as they were.
    tasks: Vec<Vec<Field>>,
    /// The server's time.
    now: i64,
    /// How many there seemed to be.
    heads: usize,
    /// The types of which there were fewer.
    short: Vec<TaskType>,
}

/// Where a search looks for tasks of one type.
#[derive(Debug, Clone)]
struct Start<'c> {
    task_type: &'c TaskType,
    reach: Reach,
    /// None where it looks everywhere.
    ranges: Vec<Range>,
}

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Everywhere,
    Ahead,
    /// And at what became ready a short time ago.
    Back,
    /// And in the ranks that no place is known of.
    Gaps,
}

/// Ranks, a time from which on, and how far back from now besides.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: i64,
    last: i64,
    from: NaiveDateTime,
    back: Duration,
}

/// Before all times that are stored.
const EVER: NaiveDateTime = match NaiveDate::from_ymd_opt(1, 1, 1) {
    Some(day) => day.and_time(NaiveTime::MIN),
    None => unreachable!(),
};

/// Finds tasks to claim, in claim order within each type.
pub(crate) async fn search<'c>(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    claiming: &'c Claiming,
) -> Attempt<Found<'c>> {
    let cursors = dialect.cursors();
    let start = |task_type| match claiming.types.len() {
        2..=TYPES_MAX if !claiming.is_extra => {
            Start::new(cursors, shard, task_type, false).among_others(cursors, shard)
        }
        1..=TYPES_MAX => Start::new(cursors, shard, task_type, claiming.is_extra),
        _ => Start::everywhere(task_type),
    };
    let starts = claiming.types.iter().map(start).collect();
    let found = find(dialect, &mut *connection, shard, claiming, starts).await?;
    if found.is_enough || claiming.is_extra {
        return Ok(found);
    }
    let starts: Vec<_> = found.starts.iter().map(|start| start.wider(cursors, shard)).collect();
    let is_wider = found.starts.iter().zip(&starts).any(|(before, after)| before.reach != after.reach);
    // What it has locked is found again.
    if is_wider { find(dialect, connection, shard, claiming, starts).await } else { Ok(found) }
}

async fn find<'c>(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    claiming: &Claiming,
    starts: Vec<Start<'c>>,
) -> Attempt<Found<'c>> {
    let began = Instant::now();
    let looked_for: Vec<&Start<'_>> = starts.iter().collect();
    let mut taken = take_heads(dialect, &mut *connection, shard, claiming.limit, &looked_for).await?;
    // The heads may be locked by others, and types that come after them were not looked at.
    let is_cut_off = starts.len() > 1 && taken.heads == claiming.limit;
    if starts.len() > 1 && !claiming.is_extra {
        take_rest(dialect, connection, shard, claiming.limit, looked_for, &mut taken).await?;
    }
    let Taken { tasks, now, .. } = taken;
    let places = places_of(&starts, &tasks, now);
    let is_enough = tasks.len() == claiming.limit;
    let is_cut_off = is_cut_off || is_enough;
    Ok(Found { tasks, now, starts, places, is_enough, is_cut_off, began, ended: Instant::now() })
}

/// Where others hold a part of what was promised, takes as much of what comes next, in claim order: a claim that is no extra one
/// answers nothing only where nothing is to be had. A type that brought less than it promised has no more that is free; and where
/// less was promised than asked for, that was all there is.
async fn take_rest(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    limit: usize,
    mut looked_for: Vec<&Start<'_>>,
    taken: &mut Taken,
) -> Attempt<()> {
    let (mut of_exhausted, mut asked) = (Vec::new(), limit);
    while taken.heads == asked && !taken.short.is_empty() {
        let is_short = |name: &str| taken.short.iter().any(|task_type| task_type.as_str() == name);
        looked_for.retain(|start| !is_short(start.task_type.as_str()));
        of_exhausted.extend(taken.tasks.extract_if(.., |fields| is_short(type_of(fields))));
        if looked_for.is_empty() {
            break;
        }
        // What it has locked of the others is found again.
        asked = limit - of_exhausted.len();
        let before = taken.now;
        *taken = take_heads(dialect, &mut *connection, shard, asked, &looked_for).await?;
        taken.now = taken.now.max(before);
    }
    taken.tasks.extend(of_exhausted);
    Ok(())
}

/// Locks the first tasks of all these types together.
async fn take_heads(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    limit: usize,
    starts: &[&Start<'_>],
) -> Attempt<Taken> {
    let (heads, now) = heads(dialect, &mut *connection, shard, limit, starts).await?;
    let start_of = |(task_type, limit): &(TaskType, i64)| {
        let start = starts.iter().find(|start| start.task_type == task_type);
        start.map(|start| (*start, *limit))
    };
    let takes: Vec<_> = heads.iter().filter_map(start_of).collect();
    let tasks = take(dialect, connection, shard, &takes).await?;
    let heads_in_all = heads.iter().map(|(_, heads)| heads).sum::<i64>();
    let brought = |name: &str| integer(tasks.iter().filter(|fields| type_of(fields) == name).count());
    let short = heads.into_iter().filter(|(task_type, heads)| brought(task_type.as_str()) < *heads);
    let short = short.map(|(task_type, _)| task_type).collect();
    Ok(Taken { tasks, now, heads: usize::try_from(heads_in_all).unwrap_or(0), short })
}

/// How many tasks of each type to claim, and the server's time at which that was found out.
async fn heads(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    limit: usize,
    starts: &[&Start<'_>],
) -> Attempt<(Vec<(TaskType, i64)>, i64)> {
    // Of one type alone it only matters whether there is any.
    let is_one = starts.len() == 1;
    let limit_of_type = if is_one { 1 } else { integer(limit) };
    let ranges = starts.iter().map(|start| start.ranges()).max().unwrap_or(0);
    let sql = dialect.literal().heads(starts.len(), ranges);
    let mut query = dialect.query(&sql);
    for start in starts {
        query = start.bind(query.bind(shard.number()), ranges);
        query = query.bind(start.task_type.as_str()).bind(limit_of_type);
    }
    let mut heads = Vec::new();
    let mut now = 0;
    for mut row in dialect.rows(query.bind(limit_of_type), connection).await? {
        let task_type = TaskType::new(name_of(&row.text(0)?))?;
        heads.push((task_type, if is_one { integer(limit) } else { row.integer(1)? }));
        now = row.integer(2)?;
    }
    Ok((heads, now))
}

/// Locks so many ready tasks of each type; answers their fields as they were.
async fn take(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    takes: &[(&Start<'_>, i64)],
) -> Attempt<Vec<Vec<Field>>> {
    let Some((last, _)) = takes.last() else { return Ok(Vec::new()) };
    // Few numbers of types, so that there are few texts: those beyond take nothing.
    let types = takes.len().next_power_of_two();
    let filled_up = takes.iter().copied().chain(repeat((*last, 0))).take(types);
    let ranges = takes.iter().map(|(start, _)| start.ranges()).max().unwrap_or(0);
    let sql = dialect.literal().take(types, ranges);
    let query = filled_up.fold(dialect.query(&sql), |query, (start, limit)| {
        start.bind(query.bind(shard.number()), ranges).bind(limit)
    });
    dialect.fields(query, connection).await
}

/// The type by which a task was found, which stands in its second field.
pub(crate) fn type_of(fields: &[Field]) -> &str {
    if let Some(Field::Text(stored)) = fields.get(1) { name_of(stored) } else { "" }
}

/// A stored type as it is looked for: in a comparison blanks at its end do not count.
fn name_of(stored: &str) -> &str {
    stored.trim_end_matches(' ')
}

/// The last places of each type. A task's place stands in its last two fields. None is behind the time of the claim, at which others
/// become ready: a producer's own INSERT may have named a time that never comes.
fn places_of(starts: &[Start<'_>], tasks: &[Vec<Field>], now: i64) -> Places {
    let mut places = Places::new();
    for fields in tasks {
        let [.., Field::Integer(rank), Field::Integer(micros)] = &fields[..] else { continue };
        let start = starts.iter().find(|start| start.task_type.as_str() == type_of(fields));
        if let (Some(start), Some(at)) = (start, DateTime::from_timestamp_micros(now.min(*micros))) {
            let place = places.entry((*rank, start.task_type.clone())).or_insert(at);
            *place = at.max(*place);
        }
    }
    places
}

impl Found<'_> {
    /// Tells the cursors, when the tasks are claimed. Should the transaction fail after that, they are late ones.
    pub(crate) fn tell(&self, cursors: &Cursors, shard: Shard) {
        let Self { is_enough, is_cut_off, began, ended, .. } = *self;
        if self.starts.len() > TYPES_MAX {
            return;
        }
        for Start { task_type, reach, .. } in &self.starts {
            let of_type = self.places.iter().filter(|((_, other), _)| other == *task_type);
            let (types, claimed) =
                (from_ref(*task_type), &of_type.map(|(kind, at)| (kind.clone(), *at)).collect());
            if *reach == Reach::Everywhere {
                cursors.scanned(shard, types, &Scan { claimed, is_cut_off, began, ended });
                continue;
            }
            let look_back_took = (*reach != Reach::Ahead).then(|| ended.saturating_duration_since(began));
            cursors.advance(shard, types, &AheadOf { claimed, is_enough, look_back_took });
            if *reach == Reach::Gaps {
                cursors.filled(shard, types, claimed, is_cut_off);
            }
        }
    }
}

impl<'c> Start<'c> {
    fn new(cursors: &Cursors, shard: Shard, task_type: &'c TaskType, is_extra: bool) -> Self {
        let (types, now) = (from_ref(task_type), Instant::now());
        let places = match cursors.look(shard, types, now, is_extra) {
            Look::From(places) if places.len() <= PLACES_MAX => places,
            Look::From(_) | Look::Everywhere => return Self::everywhere(task_type),
        };
        let back = if is_extra { Duration::ZERO } else { cursors.look_back(shard, types, now) };
        let reach = if back.is_zero() { Reach::Ahead } else { Reach::Back };
        let range = |((rank, _), at): ((i64, TaskType), Timestamp)| Range {
            first: rank,
            last: rank,
            from: at.naive_utc(),
            back,
        };
        Self { task_type, reach, ranges: places.into_iter().map(range).collect() }
    }

    fn everywhere(task_type: &'c TaskType) -> Self {
        Self { task_type, reach: Reach::Everywhere, ranges: Vec::new() }
    }

    /// Where to look when other types are looked for as well: they may have enough, of less priority than what the last look
    /// from the head did not come to.
    fn among_others(self, cursors: &Cursors, shard: Shard) -> Self {
        if self.reach == Reach::Everywhere {
            return self;
        }
        match self.with_gaps(cursors, shard) {
            wider if wider.reach == Reach::Gaps => wider,
            _ => self,
        }
    }

    /// Where to look when that was not enough.
    fn wider(&self, cursors: &Cursors, shard: Shard) -> Self {
        let types = from_ref(self.task_type);
        if self.reach == Reach::Everywhere || cursors.may_scan(shard, types, Instant::now()) {
            return Self::everywhere(self.task_type);
        }
        if self.reach == Reach::Gaps { self.clone() } else { self.with_gaps(cursors, shard) }
    }

    /// Back from its places, and in the gaps if there are any.
    fn with_gaps(&self, cursors: &Cursors, shard: Shard) -> Self {
        let back = |range: &Range| Range { back: LOOK_BACK, ..*range };
        let mut ranges: Vec<Range> = self.ranges.iter().map(back).collect();
        let gaps = cursors.gaps(shard, from_ref(self.task_type));
        ranges.extend(gaps.iter().filter_map(Range::of_gap));
        let reach = if ranges.len() > self.ranges.len() { Reach::Gaps } else { Reach::Back };
        Self { task_type: self.task_type, reach, ranges }
    }

    /// How many ranges its statements have: few numbers, so that there are few texts.
    fn ranges(&self) -> usize {
        match self.ranges.len() {
            0 => 0,
            ranges => ranges.next_power_of_two(),
        }
    }

    /// Binds the type and so many ranges, the last one again and again.
    fn bind<'q>(&self, query: Query<'q>, ranges: usize) -> Query<'q> {
        let last = self.ranges.last().copied().unwrap_or_else(Range::all);
        let filled_up = self.ranges.iter().copied().chain(repeat(last)).take(ranges);
        let query = query.bind(self.task_type.as_str().to_owned());
        filled_up.fold(query, |query, Range { first, last, from, back }| {
            query.bind(first).bind(last).bind(from).bind(micros(back))
        })
    }
}

impl Range {
    fn all() -> Self {
        Self { first: i64::MIN, last: i64::MAX, from: EVER, back: Duration::ZERO }
    }

    fn of_gap(gap: &Gap) -> Option<Self> {
        let (first, last) = (gap.above.saturating_add(1), gap.below.saturating_sub(1));
        (first <= last).then_some(Self { first, last, ..Self::all() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_behind_the_time_of_its_claim() {
        let task_type = TaskType::new("mail").expect("it is a type");
        let start = Start { task_type: &task_type, reach: Reach::Everywhere, ranges: Vec::new() };
        let task =
            |at| vec![Field::Null, Field::Text("mail".to_owned()), Field::Integer(-5), Field::Integer(at)];
        let places = places_of(&[start], &[task(7), task(i64::MAX)], 1_000);
        let at = DateTime::from_timestamp_micros(1_000).expect("it is in range");
        assert_eq!(places, Places::from([((-5, task_type), at)]));
    }
}
