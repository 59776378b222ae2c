//! Retry: a failed attempt is followed by another while attempts remain, after the policy's delay or the error's.

use std::time::Duration;

use taskqueue_core::{Outcome, RetryPolicy, Status, Task};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, ids, task, task_type, worker};
use crate::{Harness, Options, Verdict};

async fn with_policy(harness: &dyn Harness, retry: RetryPolicy) -> Bed {
    Bed::with(harness, Options { retry, ..Options::default() }).await
}

/// Fails the only task by the policy and says how long it waits.
async fn fail_and_promote(bed: &Bed) -> taskqueue_core::Result<Duration> {
    let claim = bed.claim_one().await?;
    bed.fail(claim.lease, "no").await?;
    let failed = bed.get(claim.task.id).await?;
    let wait = failed.retry_after.expect("a failed task has a retry time") - failed.updated_at;
    bed.advance(HOUR).await;
    assert_eq!(bed.promote_due(10).await?, 1);
    Ok(wait.to_std().expect("the retry is not in the past"))
}

pub(crate) async fn a_failed_task_waits_as_the_policy_says(harness: &dyn Harness) -> Verdict {
    let bed = with_policy(harness, RetryPolicy::linear(10 * SECOND).jitter(0.0)).await;
    bed.enqueue(task().max_retries(10)).await?;
    for attempt in 1..=4 {
        assert_eq!(fail_and_promote(&bed).await?, attempt * 10 * SECOND);
    }
    Ok(())
}

pub(crate) async fn the_default_backs_off_exponentially_with_jitter(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue(task().max_retries(20)).await?;
    for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        let whole = seconds * SECOND;
        let wait = fail_and_promote(&bed).await?;
        assert!(wait <= whole && wait >= whole.mul_f64(0.79), "{wait:?} of {whole:?}");
    }
    Ok(())
}

pub(crate) async fn an_error_can_carry_its_own_delay(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.settle(claim.lease, Outcome::retry_after("busy", 7 * HOUR)).await?;
    let failed = bed.get(claim.task.id).await?;
    assert_eq!(failed.retry_after, Some(failed.updated_at + 7 * HOUR), "the policy's cap is not for it");
    Ok(())
}

pub(crate) async fn a_failed_task_is_not_claimed_before_its_time(harness: &dyn Harness) -> Verdict {
    let bed = with_policy(harness, RetryPolicy::fixed(HOUR)).await;
    let claim = bed.running().await?;
    bed.fail(claim.lease, "no").await?;
    bed.advance(59 * MINUTE).await;
    assert_eq!(bed.promote_due(10).await?, 0);
    assert_eq!(bed.dequeue(&worker(), &[task_type("task")]).await?, None);
    bed.advance(MINUTE).await;
    assert_eq!(bed.promote_due(10).await?, 1);
    assert_eq!(ids(&bed.claim(10).await?), [claim.task.id]);
    Ok(())
}

pub(crate) async fn a_promoted_retry_is_pending_and_has_no_retry_time(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.settle(claim.lease, Outcome::retry_after("no", SECOND)).await?;
    let failed = bed.get(claim.task.id).await?;
    bed.advance(MINUTE).await;
    bed.promote_due(10).await?;
    let promoted = bed.get(claim.task.id).await?;
    let updated_at = promoted.updated_at;
    assert_eq!(promoted, Task { status: Status::Pending, retry_after: None, updated_at, ..failed });
    Ok(())
}

pub(crate) async fn a_retry_without_delay_is_failed_and_due_at_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.settle(claim.lease, Outcome::retry_after("no", Duration::ZERO)).await?;
    assert_eq!(bed.status(claim.task.id).await?, Status::Failed);
    assert_eq!(bed.claim(10).await?, []);
    let again = bed.dequeue(&worker(), &[task_type("task")]).await?.expect("it is due at once");
    assert_eq!((again.task.id, again.task.attempts), (claim.task.id, 2));
    Ok(())
}

pub(crate) async fn the_last_attempt_that_fails_makes_a_dead_letter(harness: &dyn Harness) -> Verdict {
    for max_retries in [1, 2, 3] {
        let bed = with_policy(harness, RetryPolicy::fixed(SECOND)).await;
        let id = bed.enqueue(task().max_retries(max_retries)).await?;
        for _ in 1..max_retries {
            fail_and_promote(&bed).await?;
        }
        let last = bed.claim_one().await?;
        assert_eq!(last.lease.attempt, max_retries);
        bed.fail(last.lease, "the last").await?;
        let dead = bed.get(id).await?;
        assert_eq!((dead.status, dead.attempts), (Status::DeadLetter, max_retries));
        assert_eq!((dead.retry_after, dead.last_error.as_deref()), (None, Some("the last")));
        assert_eq!(dead.completed_at, Some(dead.updated_at));
    }
    Ok(())
}

pub(crate) async fn three_attempts_are_the_default(harness: &dyn Harness) -> Verdict {
    let bed = with_policy(harness, RetryPolicy::fixed(SECOND)).await;
    bed.enqueue(task()).await?;
    fail_and_promote(&bed).await?;
    fail_and_promote(&bed).await?;
    let last = bed.claim_one().await?;
    bed.fail(last.lease, "no").await?;
    assert_eq!(bed.status(last.task.id).await?, Status::DeadLetter);
    Ok(())
}

pub(crate) async fn a_delay_of_its_own_does_not_add_an_attempt(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.claim_new(task().max_retries(1)).await?;
    bed.settle(claim.lease, Outcome::retry_after("no", SECOND)).await?;
    assert_eq!(bed.status(claim.task.id).await?, Status::DeadLetter);
    Ok(())
}

pub(crate) async fn snooze_and_release_never_use_attempts_up(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().max_retries(1)).await?;
    for _ in 0..5 {
        let claim = bed.claim_one().await?;
        assert_eq!(claim.lease.attempt, 1);
        bed.release(claim.lease).await?;
        let claim = bed.claim_one().await?;
        assert_eq!(claim.lease.attempt, 1);
        bed.snooze(claim.lease, Duration::ZERO).await?;
    }
    assert_eq!(bed.get(id).await?.attempts, 0);
    Ok(())
}

pub(crate) async fn a_retry_delay_beyond_all_bounds_is_taken_as_the_longest(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.settle(claim.lease, Outcome::retry_after("no", Duration::MAX)).await?;
    let failed = bed.get(claim.task.id).await?;
    let longest = taskqueue_core::clock::add(failed.updated_at, taskqueue_core::clock::DURATION_MAX);
    assert_eq!(failed.retry_after, Some(longest));
    Ok(())
}
