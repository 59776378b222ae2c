//! Golden files of every text that this backend sends. `UPDATE_GOLDEN=1 cargo test -p taskqueue-postgres --lib` writes
//! them anew.

use std::path::Path;

use taskqueue_sql::{Statements, TableName, samples};

use crate::claim::Literal;
use crate::flavour::PostgresFlavour;

/// Portable statements that literal ones stand for here.
const NOT_SENT: [&str; 6] = ["finished", "remove", "open_counts", "oldest_pending", "totals", "add_total"];

/// Every text, by name.
pub(crate) fn texts() -> Vec<(&'static str, String)> {
    let table = TableName::default();
    let portable = samples(Statements::new(&PostgresFlavour, &table), ());
    let sent = portable.into_iter().filter(|(name, _)| !NOT_SENT.contains(name));
    let mut texts: Vec<_> = sent.map(|(name, statement)| (name, statement.sql)).collect();
    let literal = Literal::new(&table);
    texts.extend([
        ("insert", literal.insert),
        ("claim", literal.claim),
        ("claim_many", literal.claim_many),
        ("complete", literal.complete),
        ("settle", literal.settle),
        ("heartbeat", literal.heartbeat),
        ("ended", literal.ended),
        ("reclaim", literal.reclaim),
        ("tidy_leases", literal.tidy_leases),
        ("promote", literal.promote),
        ("redrive", literal.redrive),
        ("open_counts", literal.open_counts),
        ("oldest_pending", literal.oldest_pending),
        ("totals", literal.totals.sums),
        ("add_totals", literal.totals.add),
        ("fold_totals", literal.totals.fold),
        ("cleanup_edge", literal.cleaning.edge),
        ("cleanup", literal.cleaning.remove),
    ]);
    texts
}

#[test]
fn every_statement_is_what_its_golden_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names: Vec<String> = Vec::new();
    for (name, text) in texts() {
        let path = folder.join(format!("{name}.sql"));
        let text = text + "\n";
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(golden, text, "{name}: if the change is meant, run again with UPDATE_GOLDEN=1");
        names.push(format!("{name}.sql"));
    }
    let files =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let stale: Vec<String> = files.filter(|file| !names.contains(file)).collect();
    assert_eq!(stale, [""; 0], "golden files of no statement");
}
