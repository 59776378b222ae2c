//! What the literal statements are given, column by column. It knows no statement and no connection.

use std::time::Duration;

use taskqueue_core::backend::Transition;
use taskqueue_core::clock::micros;
use taskqueue_core::{Lease, NewTask, Schedule, State, Timestamp};
use uuid::Uuid;

use crate::query::Query;

/// What settles that are no completions change, column by column.
#[derive(Default)]
pub(crate) struct Changes {
    states: Vec<i16>,
    delays: Vec<i64>,
    given_back: Vec<i32>,
    moves: Vec<bool>,
    errors: Vec<Option<String>>,
    places: Vec<i64>,
    ready: i64,
}

impl Changes {
    pub(crate) fn push(&mut self, transition: &Transition) {
        let (delay, error) = match transition {
            Transition::Complete | Transition::Release => (Duration::ZERO, None),
            Transition::Retry { delay, error } => (*delay, Some(error.clone())),
            Transition::DeadLetter { error } => (Duration::ZERO, Some(error.clone())),
            Transition::Snooze { delay } => (*delay, None),
        };
        let is_snooze = matches!(transition, Transition::Snooze { .. });
        let is_ready = transition.state() == State::Ready;
        self.states.push(transition.state().code());
        self.delays.push(micros(delay));
        self.given_back.push(i32::from(is_snooze || *transition == Transition::Release));
        self.moves.push(is_snooze);
        self.errors.push(error);
        self.places.push(self.ready);
        self.ready += i64::from(is_ready);
    }

    pub(crate) fn bind<'q>(self, query: Query<'q>) -> Query<'q> {
        query
            .bind(self.states)
            .bind(self.delays)
            .bind(self.given_back)
            .bind(self.moves)
            .bind(self.errors)
            .bind(self.places)
    }
}

pub(crate) fn leases<'l>(leases: impl Iterator<Item = &'l Lease>) -> (Vec<Uuid>, Vec<i64>) {
    leases.map(|lease| (lease.task_id.as_uuid(), lease.token.get())).unzip()
}

pub(crate) fn at(task: &NewTask) -> Option<Timestamp> {
    match task.schedule {
        Schedule::At(at) => Some(at),
        Schedule::Now | Schedule::After(_) => None,
    }
}

pub(crate) fn delay(task: &NewTask) -> Option<i64> {
    match task.schedule {
        Schedule::After(delay) => Some(micros(delay)),
        Schedule::Now | Schedule::At(_) => None,
    }
}

pub(crate) fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
