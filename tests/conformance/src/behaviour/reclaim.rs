//! Reclaim: what dead workers held comes back, and a task that kills its workers does not come back for ever.

use std::time::Duration;

use taskqueue_core::{ErrorKind, NewTask, Reclaimed, Status, Task, TaskId};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, assert_kind, ids, of, request_of, task, tasks};
use crate::{Harness, Options, Verdict};

pub(crate) async fn a_task_whose_lease_ended_is_ready_again(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.advance(HOUR).await;
    let now = bed.now().await;
    assert_eq!(bed.reclaim_stale(10).await?, Reclaimed { released: 1, dead_lettered: 0 });
    let after = bed.get(claim.task.id).await?;
    bed.assert_time(after.updated_at, now);
    let error = after.last_error.clone().expect("the task says what happened");
    assert!(error.contains("lease"), "last_error says that the lease ended: {error}");
    let expected = Task {
        status: Status::Pending,
        reclaims: 1,
        last_error: Some(error),
        updated_at: after.updated_at,
        ..claim.task
    };
    assert_eq!(after, expected, "the attempt counts: it may have killed its worker");
    let again = bed.claim_one().await?;
    assert_eq!((again.task.id, again.task.attempts, again.lease.number), (after.id, 2, 2));
    Ok(())
}

pub(crate) async fn a_lease_ends_at_its_time_and_not_a_microsecond_before(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    if !bed.clock_is_manual() {
        return Err(crate::Unmet::NotRun("a clock that runs cannot be stopped at a microsecond"));
    }
    bed.running().await?;
    bed.advance(5 * MINUTE - Duration::from_micros(1)).await;
    assert_eq!(bed.reclaim_stale(10).await?.total(), 0);
    bed.advance(Duration::from_micros(1)).await;
    assert_eq!(bed.reclaim_stale(10).await?.total(), 1);
    Ok(())
}

pub(crate) async fn only_running_tasks_are_reclaimed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for status in Status::ALL {
        bed.bring_to(status, of(status.as_str())).await?;
    }
    bed.advance(100 * HOUR).await;
    assert_eq!(bed.reclaim_stale(100).await?, Reclaimed { released: 1, dead_lettered: 0 });
    assert_eq!(bed.reclaim_stale(100).await?, Reclaimed::default());
    Ok(())
}

pub(crate) async fn a_reclaim_takes_the_earliest_lease_ends_first_up_to_its_limit(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut claimed: Vec<TaskId> = Vec::new();
    for seconds in [40, 10, 30, 20] {
        bed.enqueue(task()).await?;
        let request = crate::bed::request(1).visibility_timeout(seconds * SECOND);
        claimed.extend(ids(&bed.dequeue_many(&request).await?));
    }
    bed.advance(HOUR).await;
    assert_eq!(bed.reclaim_stale(2).await?.released, 2);
    assert_eq!(ids(&bed.claim(10).await?), [claimed[1], claimed[3]]);
    assert_eq!(bed.reclaim_stale(10).await?.released, 2);
    assert_eq!(ids(&bed.claim(10).await?), [claimed[2], claimed[0]]);
    Ok(())
}

pub(crate) async fn a_reclaimed_task_goes_behind_those_that_were_ready(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let stale = bed.running().await?.task.id;
    let ready = bed.enqueue(task()).await?;
    bed.advance(HOUR).await;
    bed.reclaim_stale(10).await?;
    assert_eq!(ids(&bed.claim(10).await?), [ready, stale]);
    Ok(())
}

pub(crate) async fn a_task_whose_attempts_are_used_up_becomes_a_dead_letter(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.claim_new(task().max_retries(1)).await?;
    bed.advance(HOUR).await;
    assert_eq!(bed.reclaim_stale(10).await?, Reclaimed { released: 0, dead_lettered: 1 });
    let after = bed.get(claim.task.id).await?;
    assert_eq!((after.status, after.attempts, after.reclaims), (Status::DeadLetter, 1, 1));
    assert_eq!(after.completed_at, Some(after.updated_at));
    assert!(after.last_error.is_some_and(|error| error.contains("lease")));
    Ok(())
}

/// Lets a worker die over the only task, again and again, and says how often until it is a dead letter.
async fn deaths_until_dead_letter(bed: &Bed, task: NewTask) -> taskqueue_core::Result<u32> {
    let id = bed.enqueue(task).await?;
    for deaths in 1..=20 {
        bed.claim_one().await?;
        bed.advance(HOUR).await;
        assert_eq!(bed.reclaim_stale(10).await?.total(), 1);
        if bed.status(id).await? == Status::DeadLetter {
            return Ok(deaths);
        }
    }
    panic!("a poison task loops for ever");
}

pub(crate) async fn a_poison_task_is_reclaimed_no_more_often_than_the_cap(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let deaths = deaths_until_dead_letter(&bed, task().max_retries(1000)).await?;
    assert_eq!(deaths, taskqueue_core::MAX_RECLAIMS_DEFAULT + 1, "the cap is what it may be reclaimed");
    Ok(())
}

pub(crate) async fn the_cap_of_reclaims_can_be_configured(harness: &dyn Harness) -> Verdict {
    for max_reclaims in [0, 1, 2] {
        let bed = Bed::with(harness, Options { max_reclaims, ..Options::default() }).await;
        let deaths = deaths_until_dead_letter(&bed, task().max_retries(1000)).await?;
        assert_eq!(deaths, max_reclaims + 1);
    }
    Ok(())
}

pub(crate) async fn a_poison_task_is_stopped_by_its_attempts_too(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    assert_eq!(deaths_until_dead_letter(&bed, task().max_retries(2)).await?, 2);
    Ok(())
}

pub(crate) async fn reclaim_reaches_every_type(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let types = ["a", "b", "c"];
    bed.enqueue_many(types.map(of).to_vec()).await?;
    bed.dequeue_many(&request_of(&types, 10)).await?;
    bed.advance(HOUR).await;
    assert_eq!(bed.reclaim_stale(10).await?.released, 3);
    assert_eq!(bed.dequeue_many(&request_of(&types, 10)).await?.len(), 3);
    Ok(())
}

pub(crate) async fn a_claim_does_not_reclaim(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.running().await?.task.id;
    bed.advance(HOUR).await;
    assert_eq!(bed.claim(10).await?, []);
    assert_eq!(bed.dequeue(&crate::bed::worker(), &[crate::bed::task_type("task")]).await?, None);
    assert_eq!(bed.status(id).await?, Status::Running);
    Ok(())
}

pub(crate) async fn a_settled_task_is_not_reclaimed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(3)).await?;
    let claims = bed.claim(3).await?;
    bed.complete(claims[1].lease.clone()).await?;
    bed.advance(HOUR).await;
    assert_eq!(bed.reclaim_stale(10).await?.released, 2);
    assert_eq!(bed.status(claims[1].task.id).await?, Status::Completed);
    Ok(())
}

pub(crate) async fn what_a_dead_process_held_is_reclaimed_by_another(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    let stale = bed.running().await?;
    bed.close().await;
    bed.advance(HOUR).await;
    assert_eq!(other.reclaim_stale(10).await?.released, 1);
    let claim = other.dequeue_many(&crate::bed::request(1)).await?.remove(0);
    assert_eq!(claim.task.id, stale.task.id);
    assert_kind(other.complete(stale.lease).await, ErrorKind::LeaseLost);
    other.complete(claim.lease).await?;
    Ok(())
}
