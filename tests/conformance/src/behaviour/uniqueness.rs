//! Unique keys: one unfinished task of a type with a key; a finished one never stands in the way.

use taskqueue_core::{Cancelled, Cleanup, Enqueued, ErrorKind, Outcome, Redrive, Result, Status, Task};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, assert_kind, ids, of, task, task_type};
use crate::{Harness, Verdict};

pub(crate) async fn a_second_task_with_the_key_is_a_duplicate_of_the_first(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().unique_key("k")).await?;
    let before = bed.get(id).await?;
    assert_eq!(bed.enqueue_many(vec![task().unique_key("k")]).await?, [Enqueued::Duplicate(id)]);
    let error = assert_kind(bed.enqueue(task().unique_key("k")).await, ErrorKind::DuplicateUnique);
    assert_eq!(error.task_id(), Some(id), "the error names the holder");
    assert_eq!(bed.all().await?, [before]);
    Ok(())
}

/// Brings a holder of a key to a status and says whether it still holds the key.
async fn holds_in(harness: &dyn Harness, status: Status) -> std::result::Result<bool, crate::Unmet> {
    let bed = Bed::new(harness).await;
    let id = bed.bring_to(status, task().unique_key("k")).await?;
    let second = task().unique_key("k");
    let second_id = second.id;
    let answer = bed.enqueue_many(vec![second]).await?[0];
    let holds = answer == Enqueued::Duplicate(id);
    assert!(holds || answer == Enqueued::Created(second_id), "{answer:?}");
    assert_eq!(bed.get(id).await?.unique_key.as_deref(), Some("k"), "it goes on showing its key");
    Ok(holds)
}

pub(crate) async fn an_unfinished_task_holds_its_key(harness: &dyn Harness) -> Verdict {
    for status in [Status::Pending, Status::Running, Status::Failed] {
        assert!(holds_in(harness, status).await?, "{status}");
    }
    Ok(())
}

pub(crate) async fn a_finished_task_holds_no_key(harness: &dyn Harness) -> Verdict {
    for status in [Status::Completed, Status::DeadLetter, Status::Cancelled] {
        assert!(!holds_in(harness, status).await?, "{status}");
    }
    Ok(())
}

pub(crate) async fn a_key_is_held_through_every_way_back_to_pending(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().unique_key("k").max_retries(9)).await?;
    for outcome in [Outcome::Release, Outcome::snooze(SECOND), Outcome::retry_after("no", SECOND)] {
        let lease = bed.claim_one().await?.lease;
        bed.settle(lease, outcome).await?;
        assert_eq!(bed.enqueue_many(vec![task().unique_key("k")]).await?, [Enqueued::Duplicate(id)]);
        bed.advance(MINUTE).await;
        bed.promote_due(10).await?;
        assert_eq!(bed.enqueue_many(vec![task().unique_key("k")]).await?, [Enqueued::Duplicate(id)]);
    }
    bed.claim_one().await?;
    bed.advance(HOUR).await;
    bed.reclaim_stale(10).await?;
    assert_eq!(bed.enqueue_many(vec![task().unique_key("k")]).await?, [Enqueued::Duplicate(id)]);
    Ok(())
}

pub(crate) async fn a_reclaim_into_the_dead_letters_gives_the_key_free(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.claim_new(task().unique_key("k").max_retries(1)).await?;
    bed.advance(HOUR).await;
    assert_eq!(bed.reclaim_stale(10).await?.dead_lettered, 1);
    bed.enqueue(task().unique_key("k")).await?;
    Ok(())
}

pub(crate) async fn keys_of_different_types_do_not_meet(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = vec![of("a").unique_key("k"), of("b").unique_key("k"), of("a").unique_key("b")];
    let expected: Vec<_> = crate::bed::new_ids(&batch).into_iter().map(Enqueued::Created).collect();
    assert_eq!(bed.enqueue_many(batch).await?, expected);
    Ok(())
}

pub(crate) async fn keys_are_compared_byte_for_byte(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let keys = ["k", "K", "k ", " k", "ḱ", "k\u{301}", "é", "e\u{301}", "E", "0", "00", "ß", "ss"];
    let batch: Vec<_> = keys.iter().map(|key| task().unique_key(key)).collect();
    let expected: Vec<_> = crate::bed::new_ids(&batch).into_iter().map(Enqueued::Created).collect();
    assert_eq!(bed.enqueue_many(batch).await?, expected);
    Ok(())
}

/// The holder of the key `k` of the type `task`.
async fn holder(bed: &Bed) -> Result<Option<Task>> {
    bed.holder(&task_type("task"), "k").await
}

pub(crate) async fn an_unfinished_task_is_found_by_its_key(harness: &dyn Harness) -> Verdict {
    for status in [Status::Pending, Status::Running, Status::Failed] {
        let bed = Bed::new(harness).await;
        assert_eq!(holder(&bed).await?, None, "nobody has enqueued it");
        let id = bed.bring_to(status, task().unique_key("k").region("eu").metadata("tenant", "7")).await?;
        assert_eq!(holder(&bed).await?, Some(bed.get(id).await?), "{status}");
    }
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().unique_key("k").delay(HOUR)).await?;
    assert_eq!(holder(&bed).await?, Some(bed.get(id).await?), "one for later");
    Ok(())
}

pub(crate) async fn a_finished_task_is_not_found_by_its_key(harness: &dyn Harness) -> Verdict {
    for status in [Status::Completed, Status::DeadLetter, Status::Cancelled] {
        let bed = Bed::new(harness).await;
        bed.bring_to(status, task().unique_key("k")).await?;
        assert_eq!(holder(&bed).await?, None, "{status}");
        let next = bed.enqueue(task().unique_key("k")).await?;
        assert_eq!(holder(&bed).await?.map(|task| task.id), Some(next), "the one beside it is ({status})");
    }
    Ok(())
}

pub(crate) async fn a_redriven_task_is_found_by_its_key_again(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.bring_to(Status::DeadLetter, task().unique_key("k")).await?;
    assert_eq!(bed.redrive(&Redrive::Tasks(vec![id])).await?, 1);
    assert_eq!(holder(&bed).await?, Some(bed.get(id).await?));
    Ok(())
}

pub(crate) async fn a_task_is_found_by_its_own_key_and_type_alone(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = [("a", "k"), ("b", "k"), ("a", "K"), ("a", "k "), ("a", "é")];
    for (name, key) in batch {
        bed.enqueue(of(name).unique_key(key)).await?;
    }
    bed.enqueue(of("a")).await?;
    for (name, key) in batch {
        let found = bed.holder(&task_type(name), key).await?.expect("it is held");
        assert_eq!((found.task_type.as_str(), found.unique_key.as_deref()), (name, Some(key)));
    }
    for (name, key) in [("c", "k"), ("b", "K"), ("a", "k  "), ("a", "e"), ("a", "%"), ("a", "_")] {
        assert_eq!(bed.holder(&task_type(name), key).await?, None, "{name} {key:?}");
    }
    Ok(())
}

pub(crate) async fn a_task_can_be_cancelled_by_its_key(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(vec![of("other").unique_key("k"), task(), task().unique_key("k")]).await?;
    let id = holder(&bed).await?.expect("it is held").id;
    assert_eq!(bed.cancel(id).await?, Cancelled::From(Status::Pending));
    assert_eq!((holder(&bed).await?, bed.status(id).await?), (None, Status::Cancelled));
    assert_eq!(bed.stats().await?.pending, 2, "the others stay");
    Ok(())
}

pub(crate) async fn another_instance_finds_a_task_by_its_key(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    let id = bed.enqueue(task().unique_key("k")).await?;
    assert_eq!(other.holder(&task_type("task"), "k").await?.map(|task| task.id), Some(id));
    Ok(())
}

pub(crate) async fn within_a_batch_the_first_with_a_key_wins(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = vec![task().unique_key("k"), task(), task().unique_key("k"), task().unique_key("l")];
    let id = crate::bed::new_ids(&batch);
    use Enqueued::{Created, Duplicate};
    let expected = [Created(id[0]), Created(id[1]), Duplicate(id[0]), Created(id[3])];
    assert_eq!(bed.enqueue_many(batch).await?, expected);
    assert_eq!(ids(&bed.claim(10).await?), [id[0], id[1], id[3]]);
    Ok(())
}

pub(crate) async fn tasks_without_a_key_never_meet(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(crate::bed::tasks(3)).await?;
    assert_eq!(bed.all().await?.len(), 3);
    Ok(())
}

pub(crate) async fn a_key_can_be_held_again_and_again(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for _ in 0..5 {
        let lease = bed.claim_new(task().unique_key("k")).await?.lease;
        bed.complete(lease).await?;
    }
    assert_eq!(bed.stats().await?.completed, 5);
    bed.advance(HOUR).await;
    assert_eq!(bed.cleanup(Cleanup::new(SECOND, 10)).await?, 5);
    bed.enqueue(task().unique_key("k")).await?;
    Ok(())
}

pub(crate) async fn a_key_is_held_across_instances(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    let id = bed.enqueue(task().unique_key("k")).await?;
    assert_eq!(other.enqueue_many(vec![task().unique_key("k")]).await?, [Enqueued::Duplicate(id)]);
    Ok(())
}
