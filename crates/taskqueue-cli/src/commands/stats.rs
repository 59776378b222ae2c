//! `stats`: shows what the queue holds.

use std::collections::BTreeMap;

use serde::Serialize;
use taskqueue_core::{Queue, QueueStats, TaskType};

use super::shown;
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table, thousands};
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue stats
  taskqueue stats --json | jq .dead_letter

Pending are tasks that are ready and those that wait for their time: of these the JSON has the number as `scheduled`.";

/// Shows how many tasks the queue holds in each status and type.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print the numbers as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    stats: QueueStats,
    paused: Vec<TaskType>,
}

/// Prints the numbers.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let shown = Shown { stats: queue.stats().await?, paused: paused(&queue).await? };
    queue.close().await;
    if args.json { output::json(&shown) } else { output::write(&text(&shown)) }
}

async fn paused(queue: &impl Queue) -> Outcome<Vec<TaskType>> {
    queue.paused().await.map_err(|error| Failure::opening(error).context("stats: cannot list paused types"))
}

fn text(shown: &Shown) -> String {
    let Shown { stats, paused } = shown;
    let mut table = Table::plain([Align::Left, Align::Right, Align::Left]);
    let mut row = |name: &str, tasks: u64, note: String| table.row([name.to_owned(), thousands(tasks), note]);
    row("pending", stats.pending, pending(stats));
    row("running", stats.running, String::new());
    row("failed", stats.failed, note(stats.failed, "waiting for a retry"));
    row("completed", stats.completed, average(stats));
    row(
        "dead_letter",
        stats.dead_letter,
        note(stats.dead_letter, "look: taskqueue list --status dead_letter"),
    );
    row("cancelled", stats.cancelled, String::new());
    let mut text = table.render(0);
    if !stats.by_type.is_empty() || !paused.is_empty() {
        text.push_str("\nunfinished, by type\n");
        text.push_str(&by_type(stats, paused));
    }
    if !stats.dead_letter_by_type.is_empty() {
        text.push_str("\ndead letters, by type\n");
        text.push_str(&dead_letters(&stats.dead_letter_by_type));
    }
    text
}

/// A backlog is told from a calendar.
fn pending(stats: &QueueStats) -> String {
    let scheduled = match stats.scheduled {
        0 => None,
        1 => Some("1 waits for its time".to_owned()),
        tasks => Some(format!("{} wait for their time", thousands(tasks))),
    };
    let oldest = stats.oldest_pending.map(|time| format!("oldest ready since {}", self::shown(time)));
    scheduled.into_iter().chain(oldest).collect::<Vec<_>>().join(", ")
}

fn by_type(stats: &QueueStats, paused: &[TaskType]) -> String {
    let idle = paused.iter().filter(|task_type| !stats.by_type.contains_key(task_type)).map(|idle| (idle, 0));
    let mut table = Table::plain([Align::Left, Align::Right, Align::Left]);
    for (task_type, tasks) in stats.by_type.iter().map(|(task_type, tasks)| (task_type, *tasks)).chain(idle) {
        let note = if paused.contains(task_type) { "paused" } else { "" };
        table.row([task_type.to_string(), thousands(tasks), note.to_owned()]);
    }
    table.render(2)
}

fn dead_letters(by_type: &BTreeMap<TaskType, u64>) -> String {
    let mut table = Table::plain([Align::Left, Align::Right]);
    for (task_type, tasks) in by_type {
        table.row([task_type.to_string(), thousands(*tasks)]);
    }
    table.render(2)
}

fn note(tasks: u64, text: &str) -> String {
    if tasks == 0 { String::new() } else { text.to_owned() }
}

fn average(stats: &QueueStats) -> String {
    note(
        stats.completed,
        &format!("{:.1} ms from claim to completion on average", stats.avg_processing_time_ms),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task_type(name: &str) -> TaskType {
        TaskType::new(name).expect("a valid type")
    }

    #[test]
    fn a_paused_type_is_shown_with_and_without_tasks() {
        let mut stats = QueueStats::default();
        stats.by_type.insert(task_type("event"), 1200);
        let text = text(&Shown { stats, paused: vec![task_type("event"), task_type("mail")] });
        assert!(text.contains("  event  1,200  paused\n"), "{text}");
        assert!(text.contains("  mail       0  paused\n"), "{text}");
    }

    #[test]
    fn tasks_that_wait_for_their_time_are_told_from_a_backlog() {
        let shown = |pending, scheduled, oldest_pending| {
            let stats = QueueStats { pending, scheduled, oldest_pending, ..QueueStats::default() };
            text(&Shown { stats, paused: Vec::new() }).lines().next().map(str::to_owned).unwrap_or_default()
        };
        let time = "2026-01-01T00:00:00Z".parse().ok();
        assert!(shown(1200, 1200, None).ends_with("1,200  1,200 wait for their time"));
        assert!(shown(2, 1, time).ends_with("1 waits for its time, oldest ready since 2026-01-01T00:00:00Z"));
        assert!(shown(2, 0, time).ends_with("2  oldest ready since 2026-01-01T00:00:00Z"));
    }

    #[test]
    fn dead_letters_are_shown_by_type() {
        let mut stats = QueueStats::default();
        stats.dead_letter_by_type.insert(task_type("mail"), 2100);
        let text = text(&Shown { stats, paused: Vec::new() });
        assert!(text.contains("dead letters, by type\n  mail  2,100\n"), "{text}");
    }

    #[test]
    fn the_json_keeps_the_shared_names() {
        let shown = Shown { stats: QueueStats::default(), paused: Vec::new() };
        let json = serde_json::to_value(&shown).expect("it has a JSON form");
        for name in [
            "pending",
            "dead_letter",
            "by_type",
            "dead_letter_by_type",
            "avg_processing_time_ms",
            "oldest_pending",
            "paused",
        ] {
            assert!(json.get(name).is_some(), "{name} is missing");
        }
    }
}
