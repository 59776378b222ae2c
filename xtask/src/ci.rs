//! `cargo xtask ci`: the checks that a change must pass, in the order in which they are quick to fail. It ends
//! with the line `N passed, N failed`, each check counted as one beside the tests.

use std::process::Command;

use anyhow::Result;

use crate::counts::Counts;
use crate::process;
use crate::requirement::Requirement;
use crate::suite::{self, Extent, Urls};
use crate::tidy;
use crate::workspace::Workspace;

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Passed,
    Failed,
    /// The tool is not on this machine, and can be done without.
    NotRun(&'static str),
    /// The tool is not on this machine, and nothing is merged unchecked.
    Missing(&'static str),
}

/// Runs every check and the tests. Answers whether all passed, on every server that is required.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let required: Vec<Requirement> = REQUIRED.iter().map(|it| it.parse()).collect::<Result<_>>()?;
    let (checks, tests) = std::thread::scope(|scope| -> Result<_> {
        // Images are got while the compiler runs.
        let servers = scope.spawn(|| suite::servers(workspace, Extent::Whole, Urls::Ignored));
        let checks = checks(workspace)?;
        let servers = || servers.join().expect("looking for servers does not panic");
        Ok((checks, suite::report(workspace, Extent::Whole, servers, &required)))
    })?;
    println!("\n{}Checks:", tests.summary());
    for (name, check) in checks {
        println!("  {name:<8} {}", check.said());
    }
    let total: Counts = checks.into_iter().map(|(_, check)| check.counts()).chain([tests.total()]).sum();
    println!("\n{total}");
    Ok(total.failed == 0)
}

/// The servers without which nothing is merged: the oldest, the newest and the common version of PostgreSQL, those of
/// MySQL and MariaDB that packages exist of, a cluster of each, a pooler in transaction mode, and what the handlers speak to.
const REQUIRED: [&str; 12] = [
    "postgres:15",
    "postgres:17",
    "postgres:18",
    "mysql:9.7",
    "mariadb:11.8",
    "galera:11.8",
    "group-replication:9.7",
    "pgbouncer:1",
    "ceph-rgw:20",
    "moto:5",
    "nats:2",
    "valkey:9",
];
const CLIPPY: [&str; 7] =
    ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
const NO_FMT: Check = Check::Missing("rustfmt is not installed: rustup component add rustfmt");
const NO_CLIPPY: Check = Check::Missing("clippy is not installed: rustup component add clippy");
const NO_DENY: Check = Check::NotRun("cargo-deny is not installed: cargo install cargo-deny");

fn checks(workspace: &Workspace) -> Result<[(&'static str, Check); 5]> {
    Ok([
        ("fmt", tool("fmt", NO_FMT, &["fmt", "--all", "--check"])?),
        ("tidy", Check::of(tidy::run(workspace)?)),
        ("clippy", tool("clippy", NO_CLIPPY, &CLIPPY)?),
        ("doc", documentation()?),
        ("deny", tool("deny", NO_DENY, &["deny", "--workspace", "check"])?),
    ])
}

impl Check {
    fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }

    fn counts(self) -> Counts {
        match self {
            Self::NotRun(_) => Counts { not_run: 1, ..Counts::default() },
            ran => Counts::of_check(ran == Self::Passed),
        }
    }

    fn said(self) -> String {
        match self {
            Self::Passed => "passed".to_owned(),
            Self::Failed => "FAILED".to_owned(),
            Self::NotRun(reason) => format!("not run: {reason}"),
            Self::Missing(reason) => format!("FAILED: {reason}"),
        }
    }
}

fn tool(name: &str, without: Check, arguments: &[&str]) -> Result<Check> {
    if !process::cargo_has(name) {
        return Ok(without);
    }
    run_check(process::cargo().args(arguments))
}

fn documentation() -> Result<Check> {
    run_check(process::cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn run_check(command: &mut Command) -> Result<Check> {
    Ok(Check::of(process::succeeds(command)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_whose_tool_is_missing_has_failed_unless_it_can_be_done_without() {
        let counts = NO_DENY.counts();
        assert_eq!((counts.passed, counts.failed, counts.not_run), (0, 0, 1));
        for needed in [NO_FMT, NO_CLIPPY] {
            let counts = tool("no-such-tool", needed, &[]).expect("nothing is run").counts();
            assert_eq!((counts.passed, counts.failed, counts.not_run), (0, 1, 0));
        }
        assert_eq!(Check::Failed.counts().failed, 1);
        assert_eq!(Check::Passed.counts().passed, 1);
    }
}
