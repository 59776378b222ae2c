//! Fencing: a lease that is no longer the live one settles and extends nothing.

use taskqueue_core::{
    Claim, ErrorKind, Heartbeat, Lease, LeaseToken, Outcome, Redrive, Settled, Settlement, Status,
};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, assert_kind, task};
use crate::{Harness, Verdict};

fn outcomes() -> [Outcome; 6] {
    [
        Outcome::done(),
        Outcome::retry_after("stale", HOUR),
        Outcome::permanent("stale"),
        Outcome::snooze(HOUR),
        Outcome::snooze(std::time::Duration::ZERO),
        Outcome::Release,
    ]
}

/// Asserts that a lease can do nothing to its task, whatever it tries.
async fn assert_lost(bed: &Bed, lease: &Lease) -> taskqueue_core::Result<()> {
    let before = bed.get(lease.task_id).await?;
    for outcome in outcomes() {
        let answer = bed.settled(lease, outcome.clone()).await?;
        assert_eq!(answer, Settled::LeaseLost, "{outcome:?} of a {} task", before.status);
    }
    assert_eq!(bed.heartbeat_many(std::slice::from_ref(lease), None).await?, [Heartbeat::Lost]);
    assert_eq!(bed.get(lease.task_id).await?, before, "nothing changed");
    Ok(())
}

pub(crate) async fn a_stale_worker_cannot_settle_a_reclaimed_task(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.advance(HOUR).await;
    assert_eq!(bed.reclaim_stale(10).await?.released, 1);
    assert_lost(&bed, &lease).await?;
    Ok(())
}

pub(crate) async fn a_stale_worker_cannot_settle_the_next_workers_run(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let stale = bed.running().await?.lease;
    bed.advance(HOUR).await;
    bed.reclaim_stale(10).await?;
    let live = bed.claim_one().await?.lease;
    assert_lost(&bed, &stale).await?;
    assert_eq!(bed.settled(&live, Outcome::done()).await?, Settled::Applied);
    assert_lost(&bed, &stale).await?;
    Ok(())
}

pub(crate) async fn a_released_lease_cannot_settle_the_next_workers_run(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let released = bed.running().await?.lease;
    bed.release(released.clone()).await?;
    bed.claim_one().await?;
    assert_lost(&bed, &released).await?;
    Ok(())
}

pub(crate) async fn a_failed_lease_cannot_settle_the_retry(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let failed = bed.running().await?.lease;
    bed.settle(failed.clone(), Outcome::retry_after("no", SECOND)).await?;
    bed.advance(MINUTE).await;
    bed.promote_due(10).await?;
    bed.claim_one().await?;
    assert_lost(&bed, &failed).await?;
    Ok(())
}

pub(crate) async fn a_cancelled_task_cannot_be_settled(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.cancel(lease.task_id).await?;
    assert_lost(&bed, &lease).await?;
    assert_eq!(bed.status(lease.task_id).await?, Status::Cancelled);
    Ok(())
}

pub(crate) async fn a_lease_from_before_a_redrive_is_lost(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.settle(lease.clone(), Outcome::permanent("no")).await?;
    bed.redrive(&Redrive::Tasks(vec![lease.task_id])).await?;
    assert_lost(&bed, &lease).await?;
    Ok(())
}

pub(crate) async fn a_task_reclaimed_into_the_dead_letters_cannot_be_settled(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.claim_new(task().max_retries(1)).await?.lease;
    bed.advance(HOUR).await;
    assert_eq!(bed.reclaim_stale(10).await?.dead_lettered, 1);
    assert_lost(&bed, &lease).await?;
    Ok(())
}

pub(crate) async fn a_token_that_was_never_given_settles_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let live = bed.running().await?.lease;
    for token in [0, 1, -1, i64::MAX, i64::MIN, !live.token.get()] {
        assert_lost(&bed, &Lease { token: LeaseToken::from_stored(token), ..live.clone() }).await?;
    }
    assert_eq!(bed.settled(&live, Outcome::done()).await?, Settled::Applied);
    Ok(())
}

pub(crate) async fn no_token_settles_a_task_that_was_never_claimed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let live = bed.running().await?.lease;
    let id = bed.enqueue(task()).await?;
    assert_lost(&bed, &Lease { task_id: id, ..live }).await?;
    Ok(())
}

pub(crate) async fn the_token_of_one_task_settles_no_other(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let one = bed.running().await?.lease;
    let other = bed.running().await?.lease;
    assert_lost(&bed, &Lease { token: one.token, ..other.clone() }).await?;
    assert_eq!(bed.settled(&other, Outcome::done()).await?, Settled::Applied);
    Ok(())
}

/// Both run under one token by then, and the batch names it: for the other task.
pub(crate) async fn a_live_token_in_a_batch_settles_no_stale_lease_beside_it(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let stale = bed.running().await?.lease;
    bed.settle(stale.clone(), Outcome::Release).await?;
    bed.enqueue(task()).await?;
    let claims = bed.claim(2).await?;
    let (taken, other): (Vec<Claim>, Vec<Claim>) =
        claims.into_iter().partition(|claim| claim.task.id == stale.task_id);
    let done = |lease: &Lease| Settlement::new(lease.clone(), Outcome::done());
    let settled = bed.settle_many(vec![done(&stale), done(&other[0].lease)]).await?;
    assert_eq!(settled, [Settled::LeaseLost, Settled::Applied]);
    assert_eq!(bed.get(stale.task_id).await?.status, Status::Running);
    assert_eq!(bed.settled(&taken[0].lease, Outcome::done()).await?, Settled::Applied);
    Ok(())
}

pub(crate) async fn the_single_calls_say_lease_lost_and_that_repeating_is_no_use(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.cancel(lease.task_id).await?;
    assert_kind(bed.complete(lease.clone()).await, ErrorKind::LeaseLost);
    assert_kind(bed.fail(lease.clone(), "no").await, ErrorKind::LeaseLost);
    assert_kind(bed.snooze(lease.clone(), HOUR).await, ErrorKind::LeaseLost);
    assert_kind(bed.release(lease.clone()).await, ErrorKind::LeaseLost);
    let error = assert_kind(bed.heartbeat(&lease).await, ErrorKind::LeaseLost);
    assert_eq!(error.task_id(), Some(lease.task_id));
    Ok(())
}

pub(crate) async fn a_lease_that_ended_but_was_not_reclaimed_still_settles(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for outcome in outcomes() {
        let lease = bed.running().await?.lease;
        bed.advance(HOUR).await;
        assert_eq!(bed.settled(&lease, outcome).await?, Settled::Applied);
        bed.cancel(lease.task_id).await?;
    }
    Ok(())
}

pub(crate) async fn the_lease_number_rises_with_each_claim_and_never_falls(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut claim = bed.running().await?;
    for number in 1..=6 {
        assert_eq!(claim.lease.number, number);
        match number % 3 {
            0 => bed.release(claim.lease).await?,
            1 => bed.snooze(claim.lease, std::time::Duration::ZERO).await?,
            _ => {
                bed.settle(claim.lease, Outcome::permanent("no")).await?;
                bed.redrive(&Redrive::Tasks(vec![claim.task.id])).await?;
            }
        }
        claim = bed.claim_one().await?;
    }
    Ok(())
}
