//! `reclaim`: takes back tasks whose worker has died.

use taskqueue_core::{Queue, Reclaimed};

use super::MAINTENANCE_BATCH;
use crate::connect;
use crate::failure::Outcome;
use crate::output::{self, count};
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue reclaim

Every running worker does this by itself; use it when none is left.";

/// Takes back running tasks whose lease has ended: ready again, or dead letters when their attempts are used up or
/// they were taken back too often.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// Reclaims until no lease has ended, and says how many.
pub(crate) async fn run(target: &Target, _: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let mut sum = Reclaimed::default();
    loop {
        let batch = queue.reclaim_stale(MAINTENANCE_BATCH).await?;
        sum.released += batch.released;
        sum.dead_lettered += batch.dead_lettered;
        if batch.total() < MAINTENANCE_BATCH as u64 {
            break;
        }
    }
    queue.close().await;
    let dead = count(sum.dead_lettered, "dead letter", "dead letters");
    output::line(format!(
        "reclaimed {}: {} ready again, {dead}",
        count(sum.total(), "task", "tasks"),
        sum.released
    ))
}
