//! Pausing: claims pass over a paused type, for every worker; everything else goes on.

use taskqueue_core::{Outcome, Redrive, Status};

use crate::bed::{Bed, HOUR, SECOND, ids, of, request_of, task, task_type, tasks, wait_until, worker};
use crate::{Harness, Verdict};

pub(crate) async fn a_paused_type_is_not_claimed_until_it_is_resumed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task()).await?;
    bed.pause(&task_type("task")).await?;
    assert_eq!(bed.claim(10).await?, []);
    assert_eq!(bed.dequeue(&worker(), &[task_type("task")]).await?, None);
    assert_eq!(bed.status(id).await?, Status::Pending);
    bed.resume(&task_type("task")).await?;
    assert_eq!(ids(&bed.claim(10).await?), [id]);
    Ok(())
}

pub(crate) async fn other_types_are_claimed_as_before(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue(of("a").priority(taskqueue_core::Priority::URGENT)).await?;
    let b = bed.enqueue(of("b")).await?;
    bed.pause(&task_type("a")).await?;
    assert_eq!(ids(&bed.dequeue_many(&request_of(&["a", "b"], 10)).await?), [b]);
    Ok(())
}

pub(crate) async fn everything_else_goes_on_while_a_type_is_paused(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(5)).await?;
    let mut claims = bed.claim(5).await?;
    bed.pause(&task_type("task")).await?;
    bed.enqueue(task().delay(SECOND)).await?;
    bed.complete(claims.remove(0).lease).await?;
    bed.settle(claims.remove(0).lease, Outcome::permanent("no")).await?;
    bed.release(claims.remove(0).lease).await?;
    bed.cancel(claims.remove(0).task.id).await?;
    bed.heartbeat(&claims[0].lease).await?;
    bed.advance(HOUR).await;
    assert_eq!(bed.promote_due(10).await?, 1);
    assert_eq!(bed.reclaim_stale(10).await?.released, 1);
    assert_eq!(bed.redrive(&Redrive::Any { task_type: None, limit: 10 }).await?, 1);
    assert_eq!(bed.stats().await?.pending, 4);
    assert_eq!(bed.claim(10).await?, []);
    bed.resume(&task_type("task")).await?;
    assert_eq!(bed.claim(10).await?.len(), 4);
    Ok(())
}

pub(crate) async fn paused_types_are_listed_in_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    assert!(bed.paused().await?.is_empty());
    for name in ["c", "a", "b", "a"] {
        bed.pause(&task_type(name)).await?;
    }
    assert_eq!(bed.paused().await?, ["a", "b", "c"].map(task_type));
    bed.resume(&task_type("b")).await?;
    bed.resume(&task_type("never.paused")).await?;
    assert_eq!(bed.paused().await?, ["a", "c"].map(task_type));
    Ok(())
}

pub(crate) async fn resume_once_undoes_any_number_of_pauses(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task()).await?;
    bed.pause(&task_type("task")).await?;
    bed.pause(&task_type("task")).await?;
    bed.resume(&task_type("task")).await?;
    bed.resume(&task_type("task")).await?;
    assert_eq!(ids(&bed.claim(10).await?), [id]);
    Ok(())
}

pub(crate) async fn a_pause_holds_for_every_instance_and_outlives_its_own(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    bed.enqueue(task()).await?;
    bed.pause(&task_type("task")).await?;
    wait_until(async || Ok((!other.paused().await?.is_empty()).then_some(()))).await?;
    assert_eq!(other.dequeue(&worker(), &[task_type("task")]).await?, None);
    bed.close().await;
    let third = bed.reopen().await?;
    assert_eq!(third.paused().await?, [task_type("task")]);
    assert_eq!(third.dequeue(&worker(), &[task_type("task")]).await?, None);
    third.resume(&task_type("task")).await?;
    assert!(third.dequeue(&worker(), &[task_type("task")]).await?.is_some());
    Ok(())
}
