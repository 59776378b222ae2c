//! Dead letters: kept until somebody decides, and made pending again by a redrive.

use taskqueue_core::{Enqueued, Outcome, Redrive, Status, Task, TaskId};

use crate::bed::{Bed, HOUR, MINUTE, ids, of, request_of, task, task_type, worker};
use crate::{Harness, Options, Verdict};

fn any(limit: usize) -> Redrive {
    Redrive::Any { task_type: None, limit }
}

async fn dead(bed: &Bed) -> taskqueue_core::Result<TaskId> {
    bed.bring_to(Status::DeadLetter, task()).await
}

pub(crate) async fn a_dead_letter_stays_until_somebody_decides(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = dead(&bed).await?;
    let before = bed.get(id).await?;
    bed.advance(100 * HOUR).await;
    assert_eq!((bed.promote_due(10).await?, bed.reclaim_stale(10).await?.total()), (0, 0));
    assert_eq!(bed.dequeue(&worker(), &[task_type("task")]).await?, None);
    assert_eq!(bed.get(id).await?, before);
    Ok(())
}

pub(crate) async fn redrive_makes_it_pending_with_nothing_counted(harness: &dyn Harness) -> Verdict {
    let bed = Bed::with(harness, Options { max_reclaims: 1, ..Options::default() }).await;
    let id = bed.enqueue(task().max_retries(9)).await?;
    for _ in 0..2 {
        bed.claim_one().await?;
        bed.advance(HOUR).await;
        bed.reclaim_stale(10).await?;
    }
    let before = bed.get(id).await?;
    assert_eq!((before.status, before.attempts, before.reclaims), (Status::DeadLetter, 2, 2));
    let now = bed.now().await;
    assert_eq!(bed.redrive(&Redrive::Tasks(vec![id])).await?, 1);
    let after = bed.get(id).await?;
    bed.assert_time(after.updated_at, now);
    let expected = Task {
        status: Status::Pending,
        attempts: 0,
        reclaims: 0,
        completed_at: None,
        updated_at: after.updated_at,
        ..before
    };
    assert_eq!(after, expected, "the last error stays");
    let claim = bed.claim_one().await?;
    assert_eq!((claim.task.id, claim.lease.attempt, claim.lease.number), (id, 1, 3));
    Ok(())
}

pub(crate) async fn a_redriven_task_goes_behind_those_that_were_ready(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = dead(&bed).await?;
    let ready = bed.enqueue(task()).await?;
    bed.advance(MINUTE).await;
    bed.redrive(&any(10)).await?;
    assert_eq!(ids(&bed.claim(10).await?), [ready, id]);
    Ok(())
}

pub(crate) async fn redrive_by_id_passes_over_all_that_is_no_dead_letter(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut all = Vec::new();
    for status in Status::ALL {
        all.push(bed.bring_to(status, of(status.as_str())).await?);
    }
    all.push(TaskId::generate());
    let before = bed.all().await?;
    assert_eq!(bed.redrive(&Redrive::Tasks(all)).await?, 1);
    let after = bed.all().await?;
    let changed: Vec<&Task> = after.iter().filter(|task| !before.contains(task)).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].task_type.as_str(), changed[0].status), ("dead_letter", Status::Pending));
    Ok(())
}

pub(crate) async fn an_id_named_twice_is_redriven_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = dead(&bed).await?;
    assert_eq!(bed.redrive(&Redrive::Tasks(vec![id, id])).await?, 1);
    assert_eq!(bed.redrive(&Redrive::Tasks(vec![id])).await?, 0);
    assert_eq!(bed.redrive(&Redrive::Tasks(Vec::new())).await?, 0);
    Ok(())
}

pub(crate) async fn redrive_of_any_keeps_to_its_limit(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for _ in 0..5 {
        dead(&bed).await?;
    }
    assert_eq!(bed.redrive(&any(2)).await?, 2);
    let stats = bed.stats().await?;
    assert_eq!((stats.pending, stats.dead_letter), (2, 3));
    assert_eq!(bed.redrive(&any(10)).await?, 3);
    assert_eq!(bed.redrive(&any(10)).await?, 0);
    Ok(())
}

pub(crate) async fn redrive_of_a_type_leaves_the_others(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.bring_to(Status::DeadLetter, of("a")).await?;
    let other = bed.bring_to(Status::DeadLetter, of("ab")).await?;
    let redrive = Redrive::Any { task_type: Some(task_type("a")), limit: 10 };
    assert_eq!(bed.redrive(&redrive).await?, 1);
    assert_eq!(bed.status(other).await?, Status::DeadLetter);
    assert_eq!(bed.dequeue_many(&request_of(&["a", "ab"], 10)).await?.len(), 1);
    Ok(())
}

pub(crate) async fn redrive_takes_the_unique_key_again(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.bring_to(Status::DeadLetter, task().unique_key("k")).await?;
    assert_eq!(bed.redrive(&any(10)).await?, 1);
    assert_eq!(bed.enqueue_many(vec![task().unique_key("k")]).await?, [Enqueued::Duplicate(id)]);
    Ok(())
}

pub(crate) async fn a_dead_letter_whose_key_is_held_stays_and_is_not_counted(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.bring_to(Status::DeadLetter, task().unique_key("k")).await?;
    let free = bed.bring_to(Status::DeadLetter, of("free").unique_key("k")).await?;
    let holder = bed.enqueue(task().unique_key("k")).await?;
    let before = bed.get(id).await?;
    assert_eq!(bed.redrive(&Redrive::Tasks(vec![id])).await?, 0);
    assert_eq!(bed.redrive(&any(10)).await?, 1, "the key of another type stands in nobody's way");
    assert_eq!((bed.get(id).await?, bed.status(free).await?), (before, Status::Pending));
    bed.cancel(holder).await?;
    assert_eq!(bed.redrive(&any(10)).await?, 1);
    Ok(())
}

pub(crate) async fn of_two_dead_letters_with_one_key_one_is_redriven(harness: &dyn Harness) -> Verdict {
    for by_id in [false, true] {
        let bed = Bed::new(harness).await;
        let one = bed.bring_to(Status::DeadLetter, task().unique_key("k")).await?;
        let other = bed.bring_to(Status::DeadLetter, task().unique_key("k")).await?;
        let redrive = if by_id { Redrive::Tasks(vec![one, other]) } else { any(10) };
        assert_eq!(bed.redrive(&redrive).await?, 1);
        assert_eq!(bed.stats().await?.dead_letter, 1);
    }
    Ok(())
}

pub(crate) async fn held_keys_do_not_use_up_the_limit_of_a_redrive_by_id(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let blocked = bed.bring_to(Status::DeadLetter, task().unique_key("k")).await?;
    let free = dead(&bed).await?;
    bed.enqueue(task().unique_key("k")).await?;
    assert_eq!(bed.redrive(&Redrive::Tasks(vec![blocked, free])).await?, 1);
    assert_eq!(bed.status(free).await?, Status::Pending);
    Ok(())
}

pub(crate) async fn a_redriven_task_can_fail_and_be_redriven_again(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = dead(&bed).await?;
    for round in 0..3 {
        assert_eq!(bed.redrive(&any(10)).await?, 1);
        let lease = bed.claim_one().await?.lease;
        bed.settle(lease, Outcome::permanent(format!("round {round}"))).await?;
        assert_eq!(bed.get(id).await?.last_error, Some(format!("round {round}")));
    }
    Ok(())
}
