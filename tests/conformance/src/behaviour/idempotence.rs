//! Idempotence: a call that is repeated because its reply was lost changes nothing the second time.

use std::time::Duration;

use taskqueue_core::{Enqueued, Outcome, Priority, Settled, Status, TaskId};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, new_ids, of, task, task_type, tasks};
use crate::{Harness, Verdict};

pub(crate) async fn an_enqueue_of_an_id_that_exists_is_repeated_and_changes_nothing(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    // The id of a task with a key is one that is made for it, so that both are in one shard.
    let id = TaskId::for_unique_key(&task_type("other"), "k");
    let first = task().id(id).metadata("a", "b");
    bed.enqueue(first).await?;
    let before = bed.get(id).await?;
    bed.advance(MINUTE).await;
    let other = of("other").id(id).priority(Priority::URGENT).unique_key("k").delay(HOUR).max_retries(9);
    assert_eq!(bed.enqueue_many(vec![other.clone()]).await?, [Enqueued::Repeated(id)]);
    assert_eq!(bed.enqueue(other).await?, id, "the single call answers the id");
    assert_eq!(bed.get(id).await?, before);
    bed.enqueue(of("other").unique_key("k")).await?;
    Ok(())
}

pub(crate) async fn an_enqueue_is_repeated_in_whatever_status_the_task_is(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for status in Status::ALL {
        let id = bed.bring_to(status, of(status.as_str())).await?;
        let before = bed.get(id).await?;
        assert_eq!(bed.enqueue_many(vec![task().id(id)]).await?, [Enqueued::Repeated(id)], "{status}");
        assert_eq!(bed.get(id).await?, before);
    }
    Ok(())
}

pub(crate) async fn a_batch_may_be_repeated_in_part(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = tasks(6);
    let id = new_ids(&batch);
    bed.enqueue_many(batch[..3].to_vec()).await?;
    use Enqueued::{Created, Repeated};
    let expected =
        [Repeated(id[0]), Repeated(id[1]), Repeated(id[2]), Created(id[3]), Created(id[4]), Created(id[5])];
    assert_eq!(bed.enqueue_many(batch).await?, expected);
    Ok(())
}

pub(crate) async fn an_id_twice_in_one_batch_is_created_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let first = task();
    let id = first.id;
    let batch = vec![first, of("other").id(id)];
    assert_eq!(bed.enqueue_many(batch).await?, [Enqueued::Created(id), Enqueued::Repeated(id)]);
    let stored = bed.all().await?;
    assert_eq!((stored.len(), stored[0].task_type.as_str()), (1, "task"));
    Ok(())
}

pub(crate) async fn an_id_is_looked_at_before_its_key(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let first = task().unique_key("k");
    let id = first.id;
    bed.enqueue(first.clone()).await?;
    assert_eq!(bed.enqueue_many(vec![first]).await?, [Enqueued::Repeated(id)]);
    // Another key whose tasks are in the same shard, however many there are.
    let is_beside = |key: &String| id.with_unique_key(&task_type("task"), key) == id;
    let other = (0..).map(|n| format!("l{n}")).find(is_beside).expect("there are enough numbers");
    bed.enqueue(of("task").unique_key(&other)).await?;
    let crossed = task().id(id).unique_key(&other);
    assert_eq!(bed.enqueue_many(vec![crossed]).await?, [Enqueued::Repeated(id)]);
    Ok(())
}

pub(crate) async fn each_settle_can_be_repeated(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let outcomes = [
        Outcome::done(),
        Outcome::retry_after("no", HOUR),
        Outcome::permanent("no"),
        Outcome::snooze(HOUR),
        Outcome::snooze(Duration::ZERO),
        Outcome::Release,
    ];
    for outcome in outcomes {
        let lease = bed.running().await?.lease;
        assert_eq!(bed.settled(&lease, outcome.clone()).await?, Settled::Applied);
        let before = bed.get(lease.task_id).await?;
        bed.advance(MINUTE).await;
        for _ in 0..2 {
            assert_eq!(bed.settled(&lease, outcome.clone()).await?, Settled::Repeated, "{outcome:?}");
        }
        bed.settle(lease.clone(), outcome).await?;
        assert_eq!(bed.get(lease.task_id).await?, before, "nothing changed");
        bed.cancel(lease.task_id).await?;
    }
    Ok(())
}

pub(crate) async fn a_settle_can_be_repeated_after_its_promotion(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for outcome in [Outcome::retry_after("no", SECOND), Outcome::snooze(SECOND)] {
        let lease = bed.running().await?.lease;
        bed.settle(lease.clone(), outcome.clone()).await?;
        bed.advance(MINUTE).await;
        assert_eq!(bed.promote_due(10).await?, 1);
        let before = bed.get(lease.task_id).await?;
        assert_eq!(bed.settled(&lease, outcome).await?, Settled::Repeated);
        assert_eq!(bed.get(lease.task_id).await?, before);
        bed.cancel(lease.task_id).await?;
    }
    Ok(())
}

pub(crate) async fn a_different_settle_of_a_settled_run_is_a_lost_lease(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let outcomes =
        [Outcome::done(), Outcome::permanent("no"), Outcome::retry_after("no", HOUR), Outcome::snooze(HOUR)];
    for first in &outcomes {
        let lease = bed.running().await?.lease;
        bed.settle(lease.clone(), first.clone()).await?;
        let before = bed.get(lease.task_id).await?;
        for second in outcomes.iter().filter(|second| *second != first) {
            let answer = bed.settled(&lease, second.clone()).await?;
            assert_eq!(answer, Settled::LeaseLost, "{second:?} after {first:?}");
        }
        assert_eq!(bed.get(lease.task_id).await?, before);
        bed.cancel(lease.task_id).await?;
    }
    Ok(())
}

pub(crate) async fn a_batch_of_settles_can_be_repeated_in_part(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(4)).await?;
    let claims = bed.claim(4).await?;
    let done = |range: std::ops::Range<usize>| {
        let leases = claims[range].iter().map(|claim| claim.lease.clone());
        leases.map(|lease| taskqueue_core::Settlement::new(lease, Outcome::done())).collect::<Vec<_>>()
    };
    assert_eq!(bed.settle_many(done(0..2)).await?, [Settled::Applied; 2]);
    use Settled::{Applied, Repeated};
    assert_eq!(bed.settle_many(done(0..4)).await?, [Repeated, Repeated, Applied, Applied]);
    Ok(())
}
