//! Golden files of every text that this backend sends. `UPDATE_GOLDEN=1 cargo test -p taskqueue-mysql` writes them
//! anew.

use std::path::Path;

use taskqueue_conformance::assert_golden;
use taskqueue_core::{Shard, State, Status, TaskFilter, TaskId, TaskType};
use taskqueue_sql::{Delta, Flavour as _, Statements, TableName, Total, samples};
use uuid::Uuid;

use crate::claim::{Literal, Order, Standing};
use crate::config::NOW;
use crate::engine::Engine;
use crate::flavour::MysqlFlavour;
use crate::{burial, collision, leases, listing, oldest};

/// Portable statements that literal ones stand for here.
const NOT_SENT: [&str; 1] = ["open_counts"];

/// Every text, by name.
pub(crate) fn texts() -> Vec<(&'static str, String)> {
    let table = TableName::default();
    let literal = Literal::new(&table, NOW);
    let flavour = MysqlFlavour::new(NOW);
    let statements = Statements::new(&flavour, &table, Shard::FIRST);
    let shards = statements.shards().sql;
    let total = Total { task_type: welcome().to_string(), state: State::Completed, delta: Delta::default() };
    let add_callers_total = statements.add_total(&total, flavour.callers_slot()).sql;
    let portable = samples(statements, ());
    let sent = portable.into_iter().filter(|(name, _)| !NOT_SENT.contains(name));
    let named = |name| if name == "remove" { "remove_on_vitess" } else { name };
    let mut texts: Vec<_> = sent.map(|(name, statement)| (named(name), statement.sql)).collect();
    texts.extend([
        ("shards", shards),
        ("add_callers_total", add_callers_total),
        ("insert", literal.insert(Shard::FIRST, 2)),
        ("insert_plain", literal.insert_plain(Shard::FIRST, 2, Order::Place)),
        ("insert_plain_by_id", literal.insert_plain(Shard::FIRST, 2, Order::Id)),
        ("heads", literal.heads(1, 0)),
        ("heads_of_two", literal.heads(2, 0)),
        ("heads_of_two_in_ranges", literal.heads(2, 2)),
        ("gate", literal.gate.clone()),
        ("take", literal.take(1, 0)),
        ("take_of_two", literal.take(2, 0)),
        ("take_in_range", literal.take(1, 1)),
        ("take_in_ranges", literal.take(1, 2)),
        ("claim", literal.claim(2)),
        ("bury", burial::text(&table)),
        ("running", literal.running(2)),
        ("free_due", literal.free(Standing::Due, 2)),
        ("free_ended", literal.free(Standing::Ended, 2)),
        ("free_finished", literal.free(Standing::Finished, 2)),
        ("complete", literal.complete(2, 1)),
        ("complete_and_delete", literal.complete_and_delete(2, 1)),
        ("remove", literal.remove(2)),
        ("settle", literal.settle.clone()),
        ("heartbeat", literal.heartbeat(2, 1)),
        ("hold", literal.leases.hold(2)),
        ("forget", literal.leases.forget(Engine::Mysql, Shard::FIRST, &[7, 8])),
        ("forget_on_vitess", literal.leases.forget(Engine::Vitess, Shard::FIRST, &[7, 8])),
        ("running_page", leases::page(&table, &TaskFilter::default())),
        ("due_claims", literal.leases.due.clone()),
        ("ended", literal.leases.ended.clone()),
        ("open_counts", literal.leases.open_counts.clone()),
        ("oldest_head", oldest::first(&table)),
        ("oldest_ready_at", oldest::ready_at(&table)),
        ("reclaim", literal.reclaim.clone()),
        ("waiting", literal.waiting.clone()),
        ("due", literal.due(2)),
        ("promote", literal.promote.clone()),
        ("run_now", literal.run_now),
        ("redrive", literal.redrive),
        ("hold_keys", literal.keys.hold(Shard::FIRST, 2)),
        ("hold_keys_again", literal.keys.hold_again(2)),
        ("keys_of_tasks", literal.keys.held_by(2)),
        ("free_keys_of_tasks", literal.keys.free_of(2)),
        ("let_keys_of_tasks_go", literal.keys.let_go_of(Engine::Mysql, 2)),
        ("let_keys_of_tasks_go_on_vitess", literal.keys.let_go_of(Engine::Vitess, 2)),
        ("let_keys_go", literal.keys.let_go(Engine::Mysql, 2)),
        ("let_keys_go_on_vitess", literal.keys.let_go(Engine::Vitess, 2)),
        ("holders_now", literal.keys.holders_now(2)),
        ("keys_without_task", literal.keys.without_task(2)),
    ]);
    texts.extend(claims(&literal.leases));
    texts.extend(undoes(&table));
    texts.extend(pages(&table));
    texts
}

/// The texts that look at claims and change when they are checked.
fn claims(leases: &leases::Leases) -> [(&'static str, String); 7] {
    [
        ("free_claims", leases.free(2)),
        ("held_claims", leases.held(2)),
        ("first_ends", leases.first_ends(2)),
        ("shortened", leases.shortened(2, 1)),
        ("extendable", leases.extendable(2)),
        ("check_sooner", leases.check_sooner(2)),
        ("check_later", leases.check_later(2)),
    ]
}

/// The texts that take an insert back.
fn undoes(table: &TableName) -> [(&'static str, String); 2] {
    [
        ("undo_insert", collision::delete(table, Engine::Mysql)),
        ("undo_insert_on_vitess", collision::delete(table, Engine::Vitess)),
    ]
}

/// The texts that find a page of pending tasks.
fn pages(table: &TableName) -> [(&'static str, String); 4] {
    let pending = State::of_status(Status::Pending);
    let (task_type, region) = (Some(welcome()), Some("eu".to_owned()));
    let after = Some(TaskId::from(Uuid::from_u128(7)));
    let (all, filtered) =
        (TaskFilter::default(), TaskFilter { task_type, region, after, ..TaskFilter::default() });
    [
        ("list_of_few", listing::page(table, pending, &all)),
        ("list_of_few_of_type", listing::page(table, pending, &filtered)),
        ("more_than", listing::more_than(table, pending, &all)),
        ("more_than_of_type", listing::more_than(table, pending, &filtered)),
    ]
}

fn welcome() -> TaskType {
    TaskType::new("welcome").expect("the name is valid")
}

#[test]
fn every_statement_is_what_its_golden_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    assert_golden(&folder, texts());
}

/// Vitess finds the shard by it, and every other engine its index.
#[test]
fn every_statement_names_the_shard_of_the_tasks_that_it_touches() {
    for (name, text) in texts() {
        if text.contains("tasks_totals")
            || matches!(
                name,
                "gate"
                    | "now"
                    | "shards"
                    | "hold"
                    | "forget"
                    | "forget_on_vitess"
                    | "free_claims"
                    | "due_claims"
                    | "check_sooner"
                    | "check_later"
            )
            || matches!(name, "hold_keys" | "let_keys_go" | "let_keys_go_on_vitess")
            || (text.contains("tasks_paused") && !text.contains("FROM tasks "))
        {
            continue;
        }
        let verbs = ["FROM", "UPDATE", "JOIN", "INTO"];
        let touches = verbs.iter().flat_map(|verb| [format!("{verb} tasks "), format!("{verb} `tasks` ")]);
        let touched: usize = touches.map(|touch| text.matches(&touch).count()).sum();
        let names = ["shard = ?", "`shard` = ?", "(0, "];
        let named: usize = names.iter().map(|name| text.matches(name).count()).sum();
        assert!(
            touched > 0 && named >= touched,
            "{name} touches tasks {touched} times, and names {named}: {text}"
        );
    }
}
