//! Heartbeat: a live lease is extended from now, by the queue's clock; a lost one is said to be lost.

use taskqueue_core::{Heartbeat, Outcome, Settled};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, request, task, tasks};
use crate::{Harness, Options, Verdict};

pub(crate) async fn a_heartbeat_extends_the_lease_from_now(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    for _ in 0..5 {
        bed.advance(4 * MINUTE).await;
        assert_eq!(bed.reclaim_stale(10).await?.total(), 0, "four minutes of five");
        bed.heartbeat(&lease).await?;
    }
    bed.advance(5 * MINUTE).await;
    assert_eq!(bed.reclaim_stale(10).await?.released, 1);
    Ok(())
}

pub(crate) async fn a_heartbeat_changes_nothing_that_users_see(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.advance(MINUTE).await;
    bed.heartbeat(&claim.lease).await?;
    assert_eq!(bed.get(claim.task.id).await?, claim.task);
    Ok(())
}

pub(crate) async fn a_heartbeat_may_say_for_how_long(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.heartbeat_many(std::slice::from_ref(&lease), Some(HOUR)).await?;
    bed.advance(59 * MINUTE).await;
    assert_eq!(bed.reclaim_stale(10).await?.total(), 0);
    bed.heartbeat_many(&[lease], Some(SECOND)).await?;
    bed.advance(MINUTE).await;
    assert_eq!(bed.reclaim_stale(10).await?.released, 1, "it may also be shortened");
    Ok(())
}

pub(crate) async fn a_batch_of_heartbeats_is_answered_in_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(4)).await?;
    let leases: Vec<_> = bed.claim(4).await?.into_iter().map(|claim| claim.lease).collect();
    bed.cancel(leases[1].task_id).await?;
    bed.complete(leases[2].clone()).await?;
    bed.advance(4 * MINUTE).await;
    use Heartbeat::{Extended, Lost};
    assert_eq!(bed.heartbeat_many(&leases, None).await?, [Extended, Lost, Lost, Extended]);
    bed.advance(2 * MINUTE).await;
    assert_eq!(bed.reclaim_stale(10).await?.total(), 0, "both live leases were extended");
    assert_eq!(bed.heartbeat_many(&[], None).await?, []);
    Ok(())
}

pub(crate) async fn a_lease_that_ended_is_live_again_until_it_is_reclaimed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.advance(HOUR).await;
    bed.heartbeat(&lease).await?;
    assert_eq!(bed.reclaim_stale(10).await?.total(), 0);
    bed.advance(HOUR).await;
    assert_eq!(bed.reclaim_stale(10).await?.released, 1);
    assert_eq!(bed.heartbeat_many(&[lease], None).await?, [Heartbeat::Lost]);
    Ok(())
}

pub(crate) async fn each_way_of_ending_a_run_loses_the_lease(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let ends =
        [Outcome::done(), Outcome::retry_after("no", HOUR), Outcome::permanent("no"), Outcome::snooze(HOUR)];
    for outcome in ends.into_iter().chain([Outcome::Release]) {
        let lease = bed.running().await?.lease;
        assert_eq!(bed.settled(&lease, outcome.clone()).await?, Settled::Applied);
        assert_eq!(bed.heartbeat_many(&[lease], None).await?, [Heartbeat::Lost], "{outcome:?}");
    }
    Ok(())
}

pub(crate) async fn a_claim_may_say_how_long_its_lease_lasts(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue(task()).await?;
    let now = bed.now().await;
    let claim = bed.dequeue_many(&request(1).visibility_timeout(10 * SECOND)).await?.remove(0);
    bed.assert_time(claim.lease.until, now + 10 * SECOND);
    bed.advance(11 * SECOND).await;
    assert_eq!(bed.reclaim_stale(10).await?.released, 1);
    Ok(())
}

pub(crate) async fn the_visibility_timeout_can_be_configured(harness: &dyn Harness) -> Verdict {
    let options = Options { visibility_timeout: HOUR, ..Options::default() };
    let bed = Bed::with(harness, options).await;
    assert_eq!(bed.visibility_timeout(), HOUR);
    let now = bed.now().await;
    let lease = bed.running().await?.lease;
    bed.assert_time(lease.until, now + HOUR);
    bed.advance(50 * MINUTE).await;
    bed.heartbeat(&lease).await?;
    bed.advance(50 * MINUTE).await;
    assert_eq!(bed.reclaim_stale(10).await?.total(), 0);
    Ok(())
}

pub(crate) async fn the_visibility_timeout_is_five_minutes_by_default(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    assert_eq!(bed.visibility_timeout(), 5 * MINUTE);
    Ok(())
}

pub(crate) async fn another_instance_extends_a_claim_of_this_one(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    let lease = bed.running().await?.lease;
    bed.advance(4 * MINUTE).await;
    other.heartbeat(&lease).await?;
    bed.advance(4 * MINUTE).await;
    assert_eq!(bed.reclaim_stale(10).await?.total(), 0);
    Ok(())
}
