//! A drain while an old transaction keeps the server from forgetting the dead entries of finished claims, against a
//! drain that no old transaction holds back.

use std::sync::Arc;

use anyhow::Result;
use taskqueue_core::Queue;

use super::backlog::finish;
use super::drain::{Setting, by_worker};
use crate::contest::Contest;
use crate::engine::{Bed, Connections, Engine, Horizon, Kind};
use crate::plan::Plan;
use crate::report::{Better, Figure, Samples};

const SETTING: Setting = Setting::Tuned(100);
const BAR: f64 = 0.8;

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let (clean_bed, pinned_bed) = (engine.bed("clean").await?, engine.bed("pinned").await?);
    let [ours, limit] = match clean_bed.on_server()?.horizon() {
        Horizon::Database => in_turn(&*clean_bed, &*pinned_bed, plan).await?,
        Horizon::Server => one_by_one(&*clean_bed, &*pinned_bed, plan).await?,
    };
    clean_bed.remove().await?;
    pinned_bed.remove().await?;
    let name = format!("drain, tasks/s, {} dead entries under an old transaction", plan.dead);
    let better = if kind == Kind::Postgres { Better::Higher(BAR) } else { Better::Told };
    Ok(vec![Figure::of(name, &kind.to_string(), &ours, &limit, better)])
}

/// The old transaction is in a database of its own, and the other one does not feel it.
async fn in_turn(clean_bed: &dyn Bed, pinned_bed: &dyn Bed, plan: &Plan) -> Result<[Samples; 2]> {
    let clean = &clean_bed.open(Connections::Default).await?;
    let pinned = &pinned_bed.open(Connections::Default).await?;
    let old_transaction = pinned_bed.on_server()?.pin().await?;
    eprintln!("  making {} dead entries", plan.dead);
    finish(pinned, plan.dead).await?;
    finish(clean, plan.dead).await?;
    clean_bed.rest().await?;
    let mut contest = Contest::default();
    for (name, queue) in [("pinned", pinned), ("clean", clean)] {
        contest.enter(name, move || async move { Ok(by_worker(queue, SETTING, plan.drain).await?.rate) });
    }
    let samples = contest.run(plan.rounds).await?;
    drop(old_transaction);
    Ok(samples)
}

/// An old transaction holds back the whole server: the clean drains come first, purged in between.
async fn one_by_one(clean_bed: &dyn Bed, pinned_bed: &dyn Bed, plan: &Plan) -> Result<[Samples; 2]> {
    let clean = clean_bed.open(Connections::Default).await?;
    finish(&clean, plan.dead).await?;
    clean_bed.rest().await?;
    let limit = drains("clean", &clean, plan).await?;
    let pinned = pinned_bed.open(Connections::Default).await?;
    let old_transaction = pinned_bed.on_server()?.pin().await?;
    eprintln!("  making {} dead entries", plan.dead);
    finish(&pinned, plan.dead).await?;
    let ours = drains("pinned", &pinned, plan).await?;
    drop(old_transaction);
    Ok([ours, limit])
}

async fn drains(name: &str, queue: &Arc<dyn Queue>, plan: &Plan) -> Result<Samples> {
    let mut contest = Contest::default();
    contest.enter(name, || async { Ok(by_worker(queue, SETTING, plan.drain).await?.rate) });
    let [rates] = contest.run(plan.rounds).await?;
    Ok(rates)
}
