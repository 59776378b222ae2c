//! Ordering: higher priority first, then the time at which a task became ready, then insertion order.

use taskqueue_core::{ClaimRequest, NewTask, Outcome, Priority, Queue, Settlement, TaskType, WorkerId};

use crate::bed::{
    Bed, HOUR, MINUTE, SECOND, ids, new_ids, of, request, request_of, task, task_type, tasks, wait_until,
};
use crate::{Harness, Verdict};

/// More tasks than are claimed one by one within a poll interval.
const AHEAD: usize = 3_000;

pub(crate) async fn a_higher_priority_is_claimed_first(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let priorities = [0, i32::MAX, -1, 20, i32::MIN, 5, 10, 1];
    let batch = priorities.map(|priority| task().priority(Priority(priority))).to_vec();
    bed.enqueue_many(batch).await?;
    let claimed: Vec<i32> = bed.claim(10).await?.iter().map(|claim| claim.task.priority.0).collect();
    assert_eq!(claimed, [i32::MAX, 20, 10, 5, 1, 0, -1, i32::MIN]);
    Ok(())
}

pub(crate) async fn within_a_priority_the_earlier_time_is_claimed_first(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let now = bed.now().await;
    let batch: Vec<NewTask> =
        [3, 1, 4, 2].map(|minutes| task().scheduled_at(now - minutes * MINUTE)).to_vec();
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let claimed = ids(&bed.claim(10).await?);
    assert_eq!(claimed, [expected[2], expected[0], expected[3], expected[1]]);
    Ok(())
}

pub(crate) async fn priority_goes_before_time(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let old = bed.enqueue(task().scheduled_at(bed.now().await - HOUR)).await?;
    let urgent = bed.enqueue(task().priority(Priority::URGENT)).await?;
    assert_eq!(ids(&bed.claim(2).await?), [urgent, old]);
    Ok(())
}

pub(crate) async fn a_batch_is_claimed_in_its_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    // Ids against the order of the batch, so that an order by id is no order of insertion.
    let mut batch = tasks(200);
    batch.reverse();
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let mut claimed = Vec::new();
    for limit in [1, 7, 100, 92] {
        claimed.extend(ids(&bed.claim(limit).await?));
    }
    assert_eq!(claimed, expected);
    Ok(())
}

pub(crate) async fn calls_are_claimed_in_their_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut expected = Vec::new();
    for _ in 0..20 {
        expected.push(bed.enqueue(task()).await?);
    }
    assert_eq!(ids(&bed.claim(20).await?), expected);
    Ok(())
}

pub(crate) async fn equal_times_go_by_insertion_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let at = bed.now().await - MINUTE;
    let mut expected = Vec::new();
    for _ in 0..10 {
        expected.push(bed.enqueue(task().scheduled_at(at)).await?);
    }
    assert_eq!(ids(&bed.claim(10).await?), expected);
    Ok(())
}

pub(crate) async fn types_are_claimed_in_one_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let now = bed.now().await;
    let batch = vec![
        of("a").scheduled_at(now - MINUTE),
        of("b").scheduled_at(now - 3 * MINUTE),
        of("a").scheduled_at(now - 2 * MINUTE),
        of("b").priority(Priority::HIGH),
        of("c").priority(Priority::URGENT),
    ];
    let id = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    assert_eq!(ids(&bed.dequeue_many(&request_of(&["a", "b"], 3)).await?), [id[3], id[1], id[2]]);
    assert_eq!(ids(&bed.dequeue_many(&request_of(&["a", "b", "c"], 3)).await?), [id[4], id[0]]);
    Ok(())
}

pub(crate) async fn only_the_types_asked_for_are_claimed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let wanted = bed.enqueue(of("task.a")).await?;
    bed.enqueue_many(vec![of("task"), of("task.ab"), of("task_a")]).await?;
    assert_eq!(ids(&bed.dequeue_many(&request_of(&["task.a"], 10)).await?), [wanted]);
    Ok(())
}

pub(crate) async fn a_type_asked_for_twice_is_claimed_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(3)).await?;
    let mut claimed = ids(&bed.dequeue_many(&request_of(&["task", "task", "none"], 10)).await?);
    claimed.sort();
    claimed.dedup();
    assert_eq!(claimed.len(), 3);
    Ok(())
}

pub(crate) async fn a_worker_of_very_many_types_gets_its_tasks(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let types: Vec<TaskType> = (0..200).map(|n| task_type(&format!("type{n}"))).collect();
    let worker_id = WorkerId::new("worker")?;
    bed.enqueue_many(vec![of("type0"), of("type99"), of("type199"), of("type200")]).await?;
    assert_eq!(bed.dequeue_many(&ClaimRequest::new(worker_id, types, 10)).await?.len(), 3);
    Ok(())
}

pub(crate) async fn a_claim_takes_no_more_than_its_limit(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(5)).await?;
    assert_eq!(bed.claim(2).await?.len(), 2);
    assert_eq!(bed.stats().await?.running, 2);
    assert_eq!(bed.claim(10).await?.len(), 3);
    assert_eq!(bed.claim(10).await?, []);
    Ok(())
}

pub(crate) async fn a_claim_over_several_types_takes_no_more_than_its_limit(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(vec![of("a"), of("a"), of("b"), of("b")]).await?;
    assert_eq!(bed.dequeue_many(&request_of(&["a", "b"], 3)).await?.len(), 3);
    assert_eq!(bed.stats().await?.running, 3, "nothing is claimed that is not handed out");
    Ok(())
}

pub(crate) async fn an_empty_queue_gives_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    assert_eq!(bed.claim(10).await?, []);
    assert_eq!(bed.dequeue(&crate::bed::worker(), &[task_type("task")]).await?, None);
    Ok(())
}

pub(crate) async fn a_task_below_every_cursor_is_claimed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(20)).await?;
    assert_eq!(bed.claim(20).await?.len(), 20, "these claims move the cursors to now");
    let late = bed.now().await - HOUR;
    let batch = vec![
        task().scheduled_at(late),
        task().scheduled_at(late).priority(Priority(6)),
        task().scheduled_at(late).priority(Priority::LOW),
    ];
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    for id in [expected[1], expected[0], expected[2]] {
        let queue = bed.shared();
        let claim = wait_until(async || Ok(queue.dequeue_many(&request(1)).await?.pop())).await?;
        assert_eq!(claim.task.id, id);
    }
    Ok(())
}

pub(crate) async fn promoted_tasks_are_claimed_earliest_due_first(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch: Vec<NewTask> = [30, 10, 20].map(|seconds| task().delay(seconds * SECOND)).to_vec();
    let id = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    bed.advance(MINUTE).await;
    assert_eq!(bed.promote_due(10).await?, 3);
    assert_eq!(ids(&bed.claim(10).await?), [id[1], id[2], id[0]]);
    Ok(())
}

pub(crate) async fn a_promoted_task_goes_behind_those_that_were_ready(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let delayed = bed.enqueue(task().delay(SECOND)).await?;
    bed.advance(MINUTE).await;
    let ready = bed.enqueue(task()).await?;
    bed.advance(SECOND).await;
    assert_eq!(bed.promote_due(10).await?, 1);
    assert_eq!(ids(&bed.claim(10).await?), [ready, delayed]);
    Ok(())
}

pub(crate) async fn a_released_task_goes_behind_those_that_were_ready(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    let ready = bed.enqueue(task()).await?;
    bed.advance(SECOND).await;
    bed.release(claim.lease).await?;
    assert_eq!(ids(&bed.claim(10).await?), [ready, claim.task.id]);
    Ok(())
}

pub(crate) async fn tasks_released_in_one_call_keep_its_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(20)).await?;
    let mut claims = bed.claim(20).await?;
    claims.reverse();
    let expected = ids(&claims);
    let release = |claim: taskqueue_core::Claim| Settlement::new(claim.lease, Outcome::Release);
    bed.settle_many(claims.into_iter().map(release).collect()).await?;
    assert_eq!(ids(&bed.claim(20).await?), expected);
    Ok(())
}

pub(crate) async fn several_workers_start_claims_in_one_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let workers = bed.instances(3).await;
    let batch = tasks(30);
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let mut claimed = Vec::new();
    for turn in 0..15 {
        claimed.extend(ids(&workers[turn % 3].dequeue_many(&request(2)).await?));
    }
    assert_eq!(claimed, expected);
    Ok(())
}

/// A backend may remember where it claimed last. What another instance puts in behind that place, of an earlier time or
/// of a priority never seen before, must not wait until all that is ahead is gone.
pub(crate) async fn what_goes_in_behind_the_last_claim_is_claimed_before_the_rest(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    bed.enqueue_many(tasks(AHEAD)).await?;
    bed.claim(10).await?;
    let at = bed.now().await - HOUR;
    for late in [task().scheduled_at(at), task().priority(Priority::URGENT)] {
        let late = Queue::enqueue(&other, late).await?;
        let mut claimed = 0;
        while !ids(&bed.claim(1).await?).contains(&late) {
            claimed += 1;
            assert!(claimed < AHEAD / 3, "it still waits after {claimed} claims of what was ahead");
        }
    }
    Ok(())
}

/// As above, where nothing is ahead: a claim that finds less than it asked for has looked everywhere.
pub(crate) async fn what_goes_in_behind_the_last_claim_is_claimed_when_nothing_is_ahead(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    bed.enqueue_many(tasks(20)).await?;
    bed.claim(10).await?;
    let at = bed.now().await - HOUR;
    let late = Queue::enqueue(&other, task().scheduled_at(at)).await?;
    let urgent = Queue::enqueue(&other, task().priority(Priority::URGENT)).await?;
    let mut claimed = Vec::new();
    wait_until(async || {
        claimed.extend(ids(&bed.claim(100).await?));
        Ok((claimed.len() == 12).then_some(()))
    })
    .await?;
    assert!(claimed.contains(&late) && claimed.contains(&urgent));
    Ok(())
}
