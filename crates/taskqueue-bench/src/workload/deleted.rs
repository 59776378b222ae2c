//! The drain with rows deleted on completion, against the bare loop that deletes what it has claimed.

use anyhow::Result;

use super::drain::{Setting, by_bare, by_worker};
use crate::bare::Finish;
use crate::contest::Contest;
use crate::engine::{Engine, Kind};
use crate::plan::Plan;
use crate::report::Figure;

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let bed = engine.bed("deleted").await?;
    let (bare, queue) = (&bed.bare(2).await?, &bed.on_server()?.open_deleting().await?);
    let mut contest = Contest::default();
    contest.enter("bare, deleting", move || async move {
        Ok(by_bare(bare, Finish::Delete, plan.drain).await?.rate)
    });
    for concurrency in [10, 100] {
        contest.enter(format!("c{concurrency}, deleting"), move || async move {
            Ok(by_worker(queue, Setting::Tuned(concurrency), plan.drain).await?.rate)
        });
    }
    let [limit, c10, c100] = contest.run(plan.rounds).await?;
    bed.remove().await?;
    let figure = |concurrency, ours| {
        let name = format!("drain, tasks/s, c{concurrency}, deleted on completion");
        Figure::of(name, &kind.to_string(), ours, &limit, Setting::Tuned(concurrency).better(kind))
    };
    Ok(vec![figure(10, &c10), figure(100, &c100)])
}
