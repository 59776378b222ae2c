//! Golden files of every text that this backend sends. `UPDATE_GOLDEN=1 cargo test -p taskqueue-postgres --lib` writes
//! them anew.

use std::path::Path;

use taskqueue_conformance::assert_golden;
use taskqueue_core::Shard;
use taskqueue_sql::{Statements, TableName, samples};

use crate::claim::{Literal, Memory, Rank};
use crate::cockroach;
use crate::flavour::PostgresFlavour;

/// Portable statements that literal ones stand for here.
const NOT_SENT: [&str; 5] = ["finished", "remove", "open_counts", "totals", "add_total"];

/// Every text for PostgreSQL, by name.
pub(crate) fn texts() -> Vec<(&'static str, String)> {
    let table = TableName::default();
    let mut texts = texts_of(Literal::new(&table, Rank::Taken, Memory::Trusted));
    let doubting = Literal::new(&table, Rank::Left, Memory::Doubted);
    texts.extend([("claim_in_place", doubting.claim), ("complete_doubting", doubting.complete)]);
    texts
}

fn texts_of(literal: Literal) -> Vec<(&'static str, String)> {
    let table = TableName::default();
    let statements = Statements::new(&PostgresFlavour, &table, Shard::FIRST);
    let portable = samples(statements, ());
    let sent = portable.into_iter().filter(|(name, _)| !NOT_SENT.contains(name));
    let mut texts: Vec<_> = sent.map(|(name, statement)| (name, statement.sql)).collect();
    if let Some(ahead) = literal.ahead {
        let claim_many = ahead.claim_many.serving(2).to_owned();
        texts.extend([
            ("claim_ahead", ahead.claim),
            ("claim_many_ahead", claim_many),
            ("claim_gaps", ahead.claim_gaps),
        ]);
    }
    let [claim_many, claim_more] =
        [2, usize::MAX].map(|number| literal.claim_many.serving(number).to_owned());
    if claim_more != claim_many {
        texts.push(("claim_more", claim_more));
    }
    texts.extend([
        ("shards", statements.shards().sql),
        ("snapshot", literal.snapshot.to_owned()),
        ("version", literal.version.to_owned()),
        ("insert", literal.insert),
        ("insert_one", literal.insert_one),
        ("insert_one_or_none", literal.insert_one_or_none),
        ("insert_plain", literal.insert_plain),
        ("insert_alike", literal.insert_alike),
        ("claim", literal.claim),
        ("claim_many", claim_many),
        ("is_more_ready", literal.is_more_ready),
        ("complete", literal.complete),
        ("complete_and_delete", literal.complete_and_delete),
        ("settle", literal.settle),
        ("heartbeat", literal.heartbeat),
        ("ended", literal.ended),
        ("reclaim", literal.reclaim),
        ("lock_due_claims", literal.checks.lock),
        ("check_claims", literal.checks.check.join(";\n")),
        ("promote", literal.promote),
        ("run_now", literal.run_now),
        ("redrive", literal.redrive),
        ("running_page", literal.running_page),
        ("open_counts", literal.open_counts),
        ("oldest_pending", literal.oldest_pending),
        ("totals", literal.totals.sums),
        ("add_totals", literal.totals.add),
        ("fold_totals", literal.totals.fold),
        ("cleanup_edge", literal.cleaning.of_all.edge),
        ("cleanup", literal.cleaning.of_all.remove),
        ("cleanup_dead_edge", literal.cleaning.of_dead_letters.edge),
        ("cleanup_dead", literal.cleaning.of_dead_letters.remove),
    ]);
    texts
}

#[test]
fn every_statement_is_what_its_golden_file_says() {
    compare("tests/golden", texts());
}

#[test]
fn every_statement_for_cockroachdb_is_what_its_golden_file_says() {
    compare("tests/golden_cockroach", texts_of(cockroach::literal(&TableName::default(), true)));
}

#[test]
fn no_statement_for_cockroachdb_holds_what_it_refuses() {
    for (name, text) in texts_of(cockroach::literal(&TableName::default(), true)) {
        for refused in ["ctid", "enable_seqscan", "pg_notify", "advisory", " / ", "::int,", "::integer"] {
            assert!(!text.contains(refused), "{name} has {refused}: {text}");
        }
        for statement in text.split(";\n") {
            for table in ["tasks", "tasks_leases", "tasks_totals", "tasks_paused"] {
                let changes = ["UPDATE", "DELETE FROM", "INSERT INTO"];
                let of = |change: &str| statement.matches(&format!("{change} {table} ")).count();
                let changes: usize = changes.into_iter().map(of).sum();
                assert!(changes <= 1, "{name} changes {table} {changes} times: {statement}");
            }
        }
    }
}

#[test]
fn claims_on_cockroachdb_name_their_index_by_the_table_alone() {
    let table = TableName::new("outbox").unwrap().in_schema("work").unwrap();
    let literal = cockroach::literal(&table, true);
    for claim in [literal.claim.as_str(), literal.claim_many.serving(2)] {
        assert!(claim.contains("FROM \"work\".outbox@outbox_ready"), "{claim}");
    }
}

fn compare(folder: &str, texts: Vec<(&'static str, String)>) {
    assert_golden(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), texts);
}
