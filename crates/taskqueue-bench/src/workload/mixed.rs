//! A drain of many types at once, a few of them frequent and most of them rare, in four priorities; against the bare
//! loop, and against our drain of one type and one priority.

use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use taskqueue_core::{BATCH_MAX, NewTask, Outcome, Priority, Queue, RawPayload, TaskType};
use taskqueue_worker::{Handler, TaskContext, TaskError, Worker};

use super::drain::{Drained, Setting, by_bare, by_worker, measured};
use crate::bare::Finish;
use crate::contest::Contest;
use crate::engine::{Connections, Engine, Kind};
use crate::plan::Plan;
use crate::report::{Better, Figure};
use crate::tasks::PAYLOAD;

const TYPES: usize = 50;
const CONCURRENCY: usize = 100;
const PRIORITIES: [Priority; 4] = [Priority::LOW, Priority::NORMAL, Priority::HIGH, Priority::URGENT];

struct Nothing;

#[async_trait]
impl Handler for Nothing {
    async fn handle(&self, _: TaskContext) -> Result<Outcome, TaskError> {
        Ok(Outcome::done())
    }
}

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let (mixed_bed, plain_bed) = (engine.bed("mixed").await?, engine.bed("plain").await?);
    let bare = &plain_bed.bare(2).await?;
    let plain = &plain_bed.open(Connections::Default).await?;
    let (mixed, types) = (&mixed_bed.open(Connections::Default).await?, &types()?);
    let mut contest = Contest::default();
    contest.enter("bare", move || async move { Ok(by_bare(bare, Finish::Keep, plan.drain).await?.rate) });
    contest.enter("mixed", move || async move { Ok(by_types(mixed, types, plan.drain).await?.rate) });
    contest.enter("plain", move || async move {
        Ok(by_worker(plain, Setting::Tuned(CONCURRENCY), plan.drain).await?.rate)
    });
    let [limit, mixed, plain] = contest.run(plan.rounds).await?;
    mixed_bed.remove().await?;
    plain_bed.remove().await?;
    let figure = |against: &str, limit| {
        let name = format!("drain, tasks/s, {TYPES} types with skew, 4 priorities{against}");
        Figure::of(name, &kind.to_string(), &mixed, limit, Better::Told)
    };
    Ok(vec![figure("", &limit), figure(", against one of each", &plain)])
}

fn types() -> taskqueue_core::Result<Vec<TaskType>> {
    (0..TYPES).map(|number| TaskType::new(format!("mixed-{number:02}"))).collect()
}

async fn by_types(queue: &Arc<dyn Queue>, types: &[TaskType], tasks: usize) -> Result<Drained> {
    let payload = RawPayload::parse(PAYLOAD)?;
    for start in (0..tasks).step_by(BATCH_MAX / 2) {
        let batch = (start..tasks.min(start + BATCH_MAX / 2)).map(|number| {
            let task = NewTask::of_parts(types[place(number)].clone(), payload.clone());
            task.priority(PRIORITIES[number % PRIORITIES.len()])
        });
        queue.enqueue_many(batch.collect()).await?;
    }
    let builder = Worker::builder(Arc::clone(queue)).concurrency(CONCURRENCY);
    let builder = builder.prefetch(4_000);
    let builder = types.iter().fold(builder, |builder, it| builder.handle(it.clone(), Nothing));
    let worker = builder.build()?;
    let drained = measured(tasks, async { Ok(usize::try_from(worker.drain().await.completed)?) }).await?;
    ensure!(queue.stats().await?.pending == 0, "every task was claimed");
    Ok(drained)
}

/// Which type the task of this number has. Half of all have one of four types, the rarest has one in 200. The numbers
/// are spread by the golden ratio, so that types alternate.
fn place(number: usize) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
    let spread = (number as f64 * 0.618_033_988_749_895).fract();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 49")]
    let place = (spread.powi(4) * 50.0) as usize;
    place.min(TYPES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_types_are_frequent_and_every_type_occurs() {
        let mut counts = [0; TYPES];
        (0..40_000).for_each(|number| counts[place(number)] += 1);
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
        assert!(counts[..4].iter().sum::<usize>() > 20_000, "{counts:?}");
        assert!(counts[0] > 10 * counts[25], "{counts:?}");
    }
}
