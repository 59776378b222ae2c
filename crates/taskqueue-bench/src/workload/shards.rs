//! The drain with the tasks spread over shards, against the same drain with one: what a shard costs where there is one
//! server, which is all that this machine can show.

use anyhow::Result;

use super::drain::{Setting, by_worker};
use crate::contest::Contest;
use crate::engine::{Engine, Kind};
use crate::plan::Plan;
use crate::report::{Better, Figure};

const SHARDS: [u16; 3] = [1, 4, 16];
const SETTING: Setting = Setting::Tuned(100);

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let (mut beds, mut queues) = (Vec::new(), Vec::new());
    for shards in SHARDS {
        let bed = engine.bed(&format!("shards_{shards}")).await?;
        queues.push((shards, bed.on_server()?.open_sharded(shards).await?));
        beds.push(bed);
    }
    let mut contest = Contest::default();
    for (shards, queue) in &queues {
        contest.enter(format!("{shards} shard(s)"), move || async move {
            Ok(by_worker(queue, SETTING, plan.drain).await?.rate)
        });
    }
    let [one, rest @ ..]: [_; SHARDS.len()] = contest.run(plan.rounds).await?;
    for bed in beds {
        bed.remove().await?;
    }
    let figures = SHARDS[1..].iter().zip(&rest).map(|(shards, rates)| {
        let name = format!("drain, tasks/s, {shards} shards against one");
        Figure::of(name, &kind.to_string(), rates, &one, Better::Told)
    });
    Ok(figures.collect())
}
