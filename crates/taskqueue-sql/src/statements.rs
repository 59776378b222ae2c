//! The statements that mean the same in every engine, rendered through sea-query. Golden files in each backend show
//! what they render. Claims, settles and whatever answers with the rows it changed are not here: those are literal.

use std::time::Duration;

use sea_query::{
    Cond, Expr, ExprTrait, Func, OnConflict, Order, Query, QueryStatementWriter, SelectStatement,
};
use taskqueue_core::{Shard, State, TaskFilter, TaskId, TaskType};

use crate::Column::{
    BusyUs, CompletedAt, DueAt, Id, LeaseToken, LeaseUntil, PausedAt, QueueAt, QueueRank, Region, Slot,
    StartedAt, Tasks, Type, UniqueHeld, UniqueKey, UpdatedAt,
};
use crate::table::{KEYS, PAUSED, SHARDS, TASKS, TOTALS};
use crate::{Column, Flavour, Statement, TASK_COLUMNS, TableName, Total};

/// The most ids or keys that one statement names, well below every engine's limit of bound values.
pub(crate) const LIST_MAX: usize = 500;

/// What the row is called that says who holds a unique key.
const HOLDER: &str = "holder";

const OPEN: [State; 4] = [State::Ready, State::Delayed, State::Running, State::Failed];

/// What a sum over finished tasks changes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta {
    /// How many tasks more, or fewer.
    pub tasks: i64,
    /// How much more time from claim to completion, in microseconds.
    pub busy_us: i64,
}

/// The portable statements in one engine's flavour, for one table.
#[derive(Debug, Clone, Copy)]
pub struct Statements<'a, F: Flavour> {
    flavour: &'a F,
    table: &'a TableName,
    shard: Shard,
}

impl<'a, F: Flavour> Statements<'a, F> {
    /// The statements for one shard of `table`.
    pub fn new(flavour: &'a F, table: &'a TableName, shard: Shard) -> Self {
        Self { flavour, table, shard }
    }

    /// The task with this id, as [`TASK_COLUMNS`].
    pub fn task(&self, id: TaskId) -> Statement {
        self.render(self.select(&TASK_COLUMNS).and_where(self.is(id)))
    }

    /// A page of tasks, highest id first, as [`TASK_COLUMNS`].
    pub fn list(&self, filter: &TaskFilter) -> Statement {
        self.render(&self.page(&TASK_COLUMNS, filter, &Expr::col(Id)))
    }

    /// The same page, whose rows are found first by a number that each has for itself alone, so that of others no more is read
    /// than the order takes. The id is as the engine writes it to have no index chosen by it.
    pub fn list_by(&self, number: &'static str, filter: &TaskFilter, id: &Expr) -> Statement {
        let mut numbers = self.page(&[], filter, id);
        numbers.column(number);
        let mut select = Query::select();
        select
            .columns(TASK_COLUMNS)
            .from(self.table.reference(TASKS))
            .and_where(Expr::col(number).in_subquery(numbers))
            .order_by_expr(id.clone(), Order::Desc);
        self.render(&select)
    }

    /// A status in one row if more than so many tasks have the filter's status and type, else no row. Which one is no matter.
    pub fn more_than(&self, tasks: usize, filter: &TaskFilter) -> Statement {
        self.render(self.of_status_and_type(&[Column::Status], filter).limit(1).offset(tasks as u64))
    }

    /// Where tasks stand: id, lease token, status.
    pub fn standings(&self, ids: &[TaskId]) -> Statement {
        self.render(self.select(&[Id, LeaseToken, Column::Status]).and_where(self.is_one_of(ids)))
    }

    /// Who holds unique keys of a type: key, id.
    pub fn holders(&self, task_type: &TaskType, keys: &[&str]) -> Statement {
        let mut select = self.held_by_tasks();
        select
            .columns([UniqueKey, Id].map(|column| (HOLDER, column)))
            .and_where(of_holder(Type).eq(task_type.as_str()))
            .and_where(of_holder(UniqueKey).is_in(keys.iter().copied()));
        self.render(&select)
    }

    /// The task that holds a unique key, as [`TASK_COLUMNS`].
    pub fn holder(&self, task_type: &TaskType, key: &str) -> Statement {
        let task = if F::KEYS_APART { self.table.name() } else { HOLDER };
        let mut select = self.held_by_tasks();
        select
            .columns(TASK_COLUMNS.map(|column| (task.to_owned(), column)))
            .and_where(of_holder(Type).eq(task_type.as_str()))
            .and_where(of_holder(UniqueKey).eq(key));
        self.render(&select)
    }

    /// What a cancel must know: type, status.
    pub fn position(&self, id: TaskId) -> Statement {
        self.render(self.select(&[Type, Column::Status]).and_where(self.is(id)))
    }

    /// Cancels a task that stands in `from`.
    pub fn cancel(&self, now: F::Now, id: TaskId, from: State) -> Statement {
        let mut update = Query::update();
        update
            .table(self.table.reference(TASKS))
            .value(Column::Status, State::Cancelled.code())
            .value(QueueRank, self.flavour.rank_off_queue())
            .value(QueueAt, self.flavour.now(now))
            .value(CompletedAt, self.flavour.now(now))
            .value(UpdatedAt, self.flavour.now(now))
            .value(DueAt, Expr::null())
            .value(LeaseToken, 0_i64)
            .value(LeaseUntil, self.flavour.no_time())
            .and_where(Expr::col(Column::Shard).eq(self.shard.number()))
            .and_where(self.is(id))
            .and_where(Expr::col(Column::Status).eq(from.code()));
        if !F::KEYS_APART {
            update.value(UniqueHeld, Expr::null());
        }
        self.render(&update)
    }

    /// The oldest finished tasks of one status and type: id, started at, completed at. The index may have them in the order in
    /// which they were claimed, which is before they finished.
    pub fn finished(
        &self,
        status: State,
        task_type: &str,
        until: (F::Now, Duration),
        limit: usize,
    ) -> Statement {
        let mut select = self.select(&[Id, StartedAt, CompletedAt]);
        select
            .and_where(self.flavour.is_in(&[status], &|column| Expr::col(column)))
            .and_where(Expr::col(Type).eq(task_type))
            .and_where(Expr::col(QueueRank).eq(self.flavour.rank_off_queue()))
            .and_where(Expr::col(QueueAt).lte(self.flavour.ago(until.0, until.1)))
            .and_where(Expr::col(CompletedAt).lte(self.flavour.ago(until.0, until.1)))
            .order_by(QueueAt, Order::Asc)
            .order_by(Id, Order::Asc)
            .limit(limit as u64);
        self.render(&select)
    }

    /// Removes finished tasks.
    pub fn remove(&self, ids: &[TaskId]) -> Statement {
        let mut delete = Query::delete();
        delete
            .from_table(self.table.reference(TASKS))
            .and_where(Expr::col(Column::Shard).eq(self.shard.number()))
            .and_where(self.is_one_of(ids))
            .and_where(off_index(Expr::col(Column::Status)).is_in(FINISHED.map(State::code)));
        self.render(&delete)
    }

    /// Those of the tasks that are dead letters, in no order: id, type, unique key.
    pub fn dead_letters_of(&self, ids: &[TaskId]) -> Statement {
        let status = off_index(Expr::col((self.table_name(), Column::Status)));
        let is_dead_letter = status.eq(State::DeadLetter.code());
        self.render(self.that_can_go(is_dead_letter).and_where(self.is_one_of(ids)))
    }

    /// Dead letters in the engine's order: id, type, unique key.
    pub fn dead_letters(&self, task_type: Option<&TaskType>, limit: usize) -> Statement {
        let at = |column| Expr::col((self.table_name(), column));
        let mut select = self.that_can_go(self.flavour.is_in(&[State::DeadLetter], &at));
        if let Some(task_type) = task_type {
            select.and_where(at(Type).eq(task_type.as_str()));
        }
        for column in self.flavour.dead_letter_order() {
            select.order_by((self.table_name(), *column), Order::Asc);
        }
        self.render(select.limit(limit as u64))
    }

    /// Stops claims of a type.
    pub fn pause(&self, now: F::Now, task_type: &TaskType) -> Statement {
        let mut insert = Query::insert();
        insert
            .into_table(self.table.reference(PAUSED))
            .columns([Type, PausedAt])
            .values_panic([task_type.as_str().into(), self.flavour.now(now)])
            .on_conflict(OnConflict::column(Type).value(PausedAt, self.flavour.now(now)).to_owned());
        self.render(&insert)
    }

    /// Lets a type be claimed again.
    pub fn resume(&self, task_type: &TaskType) -> Statement {
        let mut delete = Query::delete();
        delete.from_table(self.table.reference(PAUSED)).and_where(Expr::col(Type).eq(task_type.as_str()));
        self.render(&delete)
    }

    /// The paused types, in order. At most one a type, so that it needs no limit.
    pub fn paused(&self) -> Statement {
        let mut select = Query::select();
        select.column(Type).from(self.table.reference(PAUSED)).order_by(Type, Order::Asc);
        self.render(&select)
    }

    /// The queue's clock. It reads no table.
    pub fn now(&self, now: F::Now) -> Statement {
        self.render(Query::select().expr(self.flavour.now(now)))
    }

    /// How many unfinished tasks there are: status, type, tasks. Read from the index alone.
    pub fn open_counts(&self) -> Statement {
        let mut select = self.select(&[Column::Status, Type]);
        select
            .expr(Func::count(Expr::cust("*")))
            .and_where(Expr::col(Column::Status).is_in(OPEN.map(State::code)))
            .group_by_columns([Column::Status, Type]);
        self.render(&select)
    }

    /// The newest version that was applied to the schema, in one row, of a few. 0 if none was.
    pub fn schema_version(&self) -> Statement {
        let sql = format!("SELECT coalesce(max(version), 0) FROM {}", self.table.migrations());
        Statement { sql, values: Vec::new() }
    }

    /// How many shards there are, in one row.
    pub fn shards(&self) -> Statement {
        let mut select = Query::select();
        select.column(Column::Shards).from(self.table.reference(SHARDS)).limit(1);
        self.render(&select)
    }

    /// The sums over finished tasks: type, status, tasks, busy microseconds; one row a type, status and slot.
    pub fn totals(&self) -> Statement {
        let mut select = Query::select();
        select.columns([Type, Column::Status, Tasks, BusyUs]).from(self.table.reference(TOTALS));
        select.order_by(Type, Order::Asc).order_by(Column::Status, Order::Asc);
        self.render(&select)
    }

    /// Adds to the sum of one type and status, in one of its slots.
    pub fn add_total(&self, total: &Total, slot: Expr) -> Statement {
        let Total { task_type, state, delta } = total;
        let totals = format!("{}{TOTALS}", self.table.name());
        let sum = |column, by: i64| Expr::col((totals.clone(), column)).add(by);
        let mut insert = Query::insert();
        insert
            .into_table(self.table.reference(TOTALS))
            .columns([Type, Column::Status, Slot, Tasks, BusyUs])
            .values_panic([
                task_type.as_str().into(),
                state.code().into(),
                slot,
                delta.tasks.into(),
                delta.busy_us.into(),
            ])
            .on_conflict(
                OnConflict::columns([Type, Column::Status, Slot])
                    .value(Tasks, sum(Tasks, delta.tasks))
                    .value(BusyUs, sum(BusyUs, delta.busy_us))
                    .to_owned(),
            );
        self.render(&insert)
    }

    /// Dead letters whose unique key, if any, nobody holds.
    fn that_can_go(&self, is_dead_letter: Expr) -> SelectStatement {
        let at = |column| Expr::col((self.table_name(), column));
        let mut holder = self.held();
        holder
            .expr(Expr::cust("1"))
            .and_where(of_holder(Type).eq(at(Type)))
            .and_where(of_holder(UniqueKey).eq(at(UniqueKey)));
        let free = Cond::any().add(at(UniqueKey).is_null()).add(Expr::exists(holder).not());
        let mut select = self.select(&[Id, Type, UniqueKey]);
        select.and_where(is_dead_letter).cond_where(free);
        select
    }

    /// Of the unique keys that are held, as [`HOLDER`], by tasks that are there.
    fn held_by_tasks(&self) -> SelectStatement {
        let mut select = self.held();
        if F::KEYS_APART {
            let task = |column| Expr::col((self.table_name(), column));
            let is_in_its_shard = task(Column::Shard).eq(of_holder(Column::Shard));
            let is_its_task = is_in_its_shard.and(task(Id).eq(of_holder(Id)));
            select.inner_join(self.table.reference(TASKS), is_its_task);
        }
        select
    }

    /// Of the unique keys that are held, as [`HOLDER`].
    fn held(&self) -> SelectStatement {
        let mut select = Query::select();
        let table = self.table.reference(if F::KEYS_APART { KEYS } else { TASKS });
        select.from_as(table, HOLDER).and_where(of_holder(Column::Shard).eq(self.shard.number()));
        if !F::KEYS_APART {
            select.and_where(of_holder(UniqueHeld).eq(Expr::cust("1")));
        }
        select
    }

    fn select(&self, columns: &[Column]) -> SelectStatement {
        let mut select = Query::select();
        select
            .columns(columns.iter().copied())
            .from(self.table.reference(TASKS))
            .and_where(Expr::col((self.table_name(), Column::Shard)).eq(self.shard.number()));
        select
    }

    fn page(&self, columns: &[Column], filter: &TaskFilter, id: &Expr) -> SelectStatement {
        let mut select = self.of_status_and_type(columns, filter);
        if let Some(region) = &filter.region {
            select.and_where(Expr::col(Region).eq(region.as_str()));
        }
        if let Some(after) = filter.after {
            select.and_where(id.clone().lt(self.flavour.id(after)));
        }
        select.order_by_expr(id.clone(), Order::Desc).limit(filter.limit as u64);
        if filter.offset > 0 {
            select.offset(filter.offset as u64);
        }
        select
    }

    fn of_status_and_type(&self, columns: &[Column], filter: &TaskFilter) -> SelectStatement {
        let mut select = self.select(columns);
        if let Some(status) = filter.status {
            select.and_where(self.flavour.is_in(State::of_status(status), &|column| Expr::col(column)));
        }
        if let Some(task_type) = &filter.task_type {
            select.and_where(Expr::col(Type).eq(task_type.as_str()));
        }
        select
    }

    fn is(&self, id: TaskId) -> Expr {
        Expr::col(Id).eq(self.flavour.id(id))
    }

    fn is_one_of(&self, ids: &[TaskId]) -> Expr {
        Expr::col(Id).is_in(ids.iter().map(|id| self.flavour.id(*id)))
    }

    fn table_name(&self) -> String {
        self.table.name().to_owned()
    }

    fn render(&self, statement: &impl QueryStatementWriter) -> Statement {
        let (sql, values) = statement.build(F::Builder::default());
        Statement { sql, values: values.0 }
    }
}

/// A column of the row that says who holds a unique key.
fn of_holder(column: Column) -> Expr {
    Expr::col((HOLDER, column))
}

/// The finished states.
pub(crate) const FINISHED: [State; 3] = [State::Completed, State::DeadLetter, State::Cancelled];

/// A column that no index is to be chosen by. Given more than a few ids, SQLite would rather read all rows of a
/// status than look each id up; PostgreSQL has been seen to do the same.
fn off_index(column: Expr) -> Expr {
    column.add(Expr::cust("0"))
}
