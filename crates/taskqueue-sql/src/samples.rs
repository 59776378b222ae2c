//! One of each portable statement, so that every backend's golden files and plan guards cover the same list. It
//! owns the arguments; it renders nothing itself.

use std::time::Duration;

use sea_query::Expr;
use taskqueue_core::{State, Status, TaskFilter, TaskId, TaskType};
use uuid::Uuid;

use crate::statements::Delta;
use crate::{Flavour, Statement, Statements, Total};

const IDS: u128 = 40;

/// One of each portable statement, by name, as this flavour renders it.
///
/// # Panics
/// Never: the arguments are valid.
pub fn samples<F: Flavour>(statements: Statements<'_, F>, now: F::Now) -> Vec<(&'static str, Statement)> {
    let id = TaskId::from(Uuid::from_u128(7));
    // Planners choose otherwise for few than for many.
    let ids: Vec<TaskId> = (0..IDS).map(|number| TaskId::from(Uuid::from_u128(number))).collect();
    let welcome = TaskType::new("welcome").expect("the name is valid");
    let filtered = TaskFilter {
        task_type: Some(welcome.clone()),
        status: Some(Status::Pending),
        region: Some("eu".to_owned()),
        limit: 10,
        offset: 5,
        after: Some(id),
    };
    let total = Total {
        task_type: welcome.to_string(),
        state: State::Completed,
        delta: Delta { tasks: 2, busy_us: 30 },
    };
    let day = Duration::from_secs(86_400);
    vec![
        ("task", statements.task(id)),
        ("list", statements.list(&TaskFilter::default())),
        ("list_filtered", statements.list(&filtered)),
        ("standings", statements.standings(&ids)),
        ("holders", statements.holders(&welcome, &["a", "b"])),
        ("holder", statements.holder(&welcome, "a")),
        ("position", statements.position(id)),
        ("cancel", statements.cancel(now, id, State::Running)),
        ("finished", statements.finished(State::Completed, welcome.as_str(), (now, day), 10)),
        ("remove", statements.remove(&ids)),
        ("dead_letters_of", statements.dead_letters_of(&ids)),
        ("dead_letters", statements.dead_letters(None, 10)),
        ("dead_letters_of_type", statements.dead_letters(Some(&welcome), 10)),
        ("pause", statements.pause(now, &welcome)),
        ("resume", statements.resume(&welcome)),
        ("paused", statements.paused()),
        ("now", statements.now(now)),
        ("open_counts", statements.open_counts()),
        ("totals", statements.totals()),
        ("add_total", statements.add_total(&total, Expr::val(0_i16))),
    ]
}
