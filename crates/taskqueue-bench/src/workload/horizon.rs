//! A drain while an old transaction keeps the server from forgetting the dead entries of finished claims, against a
//! drain in another database, which the old transaction does not hold back.

use anyhow::Result;

use super::backlog::finish;
use super::drain::{Setting, by_worker};
use crate::contest::Contest;
use crate::engine::{Connections, Engine, Kind};
use crate::plan::Plan;
use crate::report::{Better, Figure};

const SETTING: Setting = Setting::Tuned(100);
const BAR: f64 = 0.8;

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let (clean_bed, pinned_bed) = (engine.bed("clean").await?, engine.bed("pinned").await?);
    let clean = &clean_bed.open(Connections::Default).await?;
    let pinned = &pinned_bed.open(Connections::Default).await?;
    let old_transaction = pinned_bed.on_server()?.pin().await?;
    eprintln!("  making {} dead entries", plan.dead);
    finish(pinned, plan.dead).await?;
    finish(clean, plan.dead).await?;
    clean_bed.on_server()?.rest().await?;
    let mut contest = Contest::default();
    for (name, queue) in [("pinned", pinned), ("clean", clean)] {
        contest.enter(name, move || async move { Ok(by_worker(queue, SETTING, plan.drain).await?.rate) });
    }
    let [ours, limit] = contest.run(plan.rounds).await?;
    drop(old_transaction);
    clean_bed.remove().await?;
    pinned_bed.remove().await?;
    let name = format!("drain, tasks/s, {} dead entries under an old transaction", plan.dead);
    Ok(vec![Figure::of(name, &kind.to_string(), &ours, &limit, Better::Higher(BAR))])
}
