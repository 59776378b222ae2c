//! Limits and bad input: a clear refusal before anything is stored, and exactly at the limit no refusal.

use std::time::Duration;
use taskqueue_core::new_task::{MAX_RETRIES_MAX, METADATA_BYTES_MAX, UNIQUE_KEY_BYTES_MAX};
use taskqueue_core::{
    BATCH_MAX, ClaimRequest, Cleanup, ErrorKind, NewTask, Outcome, Priority, Redrive, Settlement, TaskFilter,
    TaskId, Timestamp, WorkerId,
};

use crate::bed::{Bed, HOUR, assert_kind, of, request, task, task_type, tasks};
use crate::{Harness, Options, Unmet, Verdict};

/// Asserts that a task is refused and nothing is stored.
async fn assert_refused(bed: &Bed, bad: NewTask, kind: ErrorKind) -> taskqueue_core::Result<()> {
    let id = bad.id;
    let error = assert_kind(bed.enqueue_many(vec![task(), bad]).await, kind);
    assert!(error.task_id().is_none_or(|named| named == id));
    assert!(!error.to_string().is_empty());
    assert_eq!(bed.all().await?, []);
    Ok(())
}

pub(crate) async fn a_payload_over_a_mebibyte_is_invalid(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let text = format!("\"{}\"", "x".repeat(taskqueue_core::PAYLOAD_BYTES_MAX_DEFAULT - 1));
    assert_refused(&bed, NewTask::raw("task", text)?, ErrorKind::InvalidPayload).await?;
    Ok(())
}

pub(crate) async fn attempts_are_between_one_and_a_million(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    assert_refused(&bed, task().max_retries(0), ErrorKind::InvalidInput).await?;
    assert_refused(&bed, task().max_retries(MAX_RETRIES_MAX + 1), ErrorKind::InvalidInput).await?;
    let id = bed.enqueue(task().max_retries(MAX_RETRIES_MAX)).await?;
    assert_eq!(bed.get(id).await?.max_retries, MAX_RETRIES_MAX);
    bed.enqueue(task().max_retries(1)).await?;
    Ok(())
}

pub(crate) async fn a_task_is_scheduled_in_the_years_1_to_9999(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let last: Timestamp = "9999-12-31T23:59:59.999999Z".parse().expect("it is a time");
    for bad in [Timestamp::MIN_UTC, last + Duration::from_micros(1), Timestamp::MAX_UTC] {
        assert_refused(&bed, task().scheduled_at(bad), ErrorKind::InvalidInput).await?;
    }
    let id = bed.enqueue(task().scheduled_at(last)).await?;
    assert_eq!(bed.get(id).await?.scheduled_at, last);
    Ok(())
}

pub(crate) async fn a_unique_key_is_one_to_two_hundred_bytes(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for bad in [String::new(), "k".repeat(UNIQUE_KEY_BYTES_MAX + 1), "é".repeat(101), "a\0b".to_owned()] {
        assert_refused(&bed, task().unique_key(&bad), ErrorKind::InvalidInput).await?;
        let enqueued = assert_kind(bed.enqueue(task().unique_key(&bad)).await, ErrorKind::InvalidInput);
        let asked_for = assert_kind(bed.holder(&task_type("task"), &bad).await, ErrorKind::InvalidInput);
        let told = |error: taskqueue_core::Error| error.to_string().replacen(error.operation(), "", 1);
        assert_eq!(told(asked_for), told(enqueued), "both say the same of it");
    }
    for good in ["k".repeat(UNIQUE_KEY_BYTES_MAX), "é".repeat(100), "😀".repeat(50)] {
        let id = bed.enqueue(task().unique_key(&good)).await?;
        assert_eq!(bed.holder(&task_type("task"), &good).await?.map(|task| task.id), Some(id));
        assert_eq!(bed.get(id).await?.unique_key, Some(good));
    }
    Ok(())
}

pub(crate) async fn a_region_is_one_to_fifty_characters(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for bad in [String::new(), "r".repeat(51), "a\nb".to_owned()] {
        assert_refused(&bed, task().region(bad.clone()), ErrorKind::InvalidInput).await?;
        let filter = TaskFilter { region: Some(bad), ..TaskFilter::default() };
        assert_kind(bed.list(&filter).await, ErrorKind::InvalidInput);
    }
    for good in ["r".repeat(50), "😀".repeat(50)] {
        let id = bed.enqueue(task().region(good.clone())).await?;
        assert_eq!(bed.get(id).await?.region, Some(good));
    }
    Ok(())
}

pub(crate) async fn metadata_is_at_most_sixteen_kibibytes(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let too_much = task().metadata("k", "v".repeat(METADATA_BYTES_MAX));
    assert_refused(&bed, too_much, ErrorKind::InvalidInput).await?;
    let most = "v".repeat(METADATA_BYTES_MAX - 1);
    let id = bed.enqueue(task().metadata("k", most.clone())).await?;
    assert_eq!(bed.get(id).await?.metadata.get("k"), Some(&most));
    Ok(())
}

pub(crate) async fn the_longest_names_are_stored_whole(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let name = "a".repeat(64);
    let worker = WorkerId::new("😀".repeat(100))?;
    bed.enqueue(of(&name)).await?;
    let claims = bed.dequeue_many(&ClaimRequest::new(worker.clone(), [task_type(&name)], 1)).await?;
    let stored = bed.get(claims[0].task.id).await?;
    assert_eq!((stored.task_type.as_str(), stored.worker_id), (name.as_str(), Some(worker)));
    Ok(())
}

pub(crate) async fn any_priority_is_stored(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for priority in [i32::MIN, -1, 0, 1, i32::MAX] {
        let id = bed.enqueue(task().priority(Priority(priority))).await?;
        assert_eq!(bed.get(id).await?.priority, Priority(priority));
    }
    Ok(())
}

pub(crate) async fn ten_thousand_rows_are_the_most_of_one_call(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let bad = ErrorKind::InvalidInput;
    assert_kind(bed.enqueue_many(tasks(BATCH_MAX + 1)).await, bad);
    assert_eq!(bed.stats().await?.pending, 0);
    assert_eq!(bed.enqueue_many(tasks(BATCH_MAX)).await?.len(), BATCH_MAX);
    let leases: Vec<_> = bed.claim(BATCH_MAX).await?.into_iter().map(|claim| claim.lease).collect();
    assert_eq!(leases.len(), BATCH_MAX);
    assert_eq!(bed.heartbeat_many(&leases, None).await?.len(), BATCH_MAX);
    let one_more = [leases.as_slice(), &leases[..1]].concat();
    assert_kind(bed.heartbeat_many(&one_more, None).await, bad);
    let done = |leases: Vec<_>| {
        leases.into_iter().map(|lease| Settlement::new(lease, Outcome::done())).collect::<Vec<_>>()
    };
    assert_kind(bed.settle_many(done(one_more)).await, bad);
    assert_eq!(bed.stats().await?.running, BATCH_MAX as u64);
    assert_eq!(bed.settle_many(done(leases)).await?.len(), BATCH_MAX);
    assert_eq!(bed.stats().await?.completed, BATCH_MAX as u64);
    Ok(())
}

pub(crate) async fn a_limit_is_one_to_ten_thousand(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.bring_to(taskqueue_core::Status::DeadLetter, task()).await?;
    for limit in [0, BATCH_MAX + 1, usize::MAX] {
        let bad = ErrorKind::InvalidInput;
        assert_kind(bed.dequeue_many(&request(limit)).await, bad);
        assert_kind(bed.list(&TaskFilter { limit, ..TaskFilter::default() }).await, bad);
        assert_kind(bed.cleanup(Cleanup::new(Duration::ZERO, limit)).await, bad);
        assert_kind(bed.reclaim_stale(limit).await, bad);
        assert_kind(bed.promote_due(limit).await, bad);
        assert_kind(bed.redrive(&Redrive::Any { task_type: None, limit }).await, bad);
    }
    assert_eq!(bed.stats().await?.dead_letter, 1, "nothing happened");
    for limit in [1, BATCH_MAX] {
        bed.dequeue_many(&request(limit)).await?;
        bed.list(&TaskFilter { limit, ..TaskFilter::default() }).await?;
        bed.cleanup(Cleanup::new(HOUR, limit)).await?;
        bed.reclaim_stale(limit).await?;
        bed.promote_due(limit).await?;
        bed.redrive(&Redrive::Any { task_type: None, limit }).await?;
    }
    Ok(())
}

pub(crate) async fn a_redrive_names_at_most_ten_thousand_ids(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let ids: Vec<TaskId> = (0..=BATCH_MAX).map(|_| TaskId::generate()).collect();
    assert_kind(bed.redrive(&Redrive::Tasks(ids.clone())).await, ErrorKind::InvalidInput);
    assert_eq!(bed.redrive(&Redrive::Tasks(ids[1..].to_vec())).await?, 0);
    Ok(())
}

pub(crate) async fn a_claim_names_at_least_one_type(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue(task()).await?;
    let none = ClaimRequest::new(crate::bed::worker(), [], 10);
    assert_kind(bed.dequeue_many(&none).await, ErrorKind::InvalidInput);
    assert_kind(bed.dequeue(&crate::bed::worker(), &[]).await, ErrorKind::InvalidInput);
    Ok(())
}

pub(crate) async fn a_visibility_timeout_is_at_least_a_millisecond(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue(task()).await?;
    for short in [Duration::ZERO, Duration::from_micros(999)] {
        assert_kind(bed.dequeue_many(&request(1).visibility_timeout(short)).await, ErrorKind::InvalidInput);
    }
    assert_eq!(bed.stats().await?.pending, 1);
    let claim = bed.dequeue_many(&request(1).visibility_timeout(Duration::from_millis(1))).await?.remove(0);
    let beat = bed.heartbeat_many(std::slice::from_ref(&claim.lease), Some(Duration::ZERO)).await;
    assert_kind(beat, ErrorKind::InvalidInput);
    Ok(())
}

pub(crate) async fn the_longest_lease_never_ends(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue(task()).await?;
    let claim = bed.dequeue_many(&request(1).visibility_timeout(Duration::MAX)).await?.remove(0);
    bed.heartbeat_many(&[claim.lease], Some(Duration::MAX)).await?;
    bed.advance(10_000 * HOUR).await;
    assert_eq!(bed.reclaim_stale(10).await?.total(), 0);
    Ok(())
}

pub(crate) async fn an_offset_beyond_all_bounds_is_invalid(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let filter = TaskFilter { offset: usize::MAX, ..TaskFilter::default() };
    assert_kind(bed.list(&filter).await, ErrorKind::InvalidInput);
    Ok(())
}

pub(crate) async fn what_is_no_json_or_no_name_never_becomes_a_task(_harness: &dyn Harness) -> Verdict {
    for text in ["", "{", "{} {}", "nul", "{'a':1}", "\"\n\"", "01", "[1,]"] {
        assert_kind(NewTask::raw("task", text), ErrorKind::InvalidPayload);
    }
    for name in ["", "Task", "a b", "é", "a/b", "a'b", &"a".repeat(65)] {
        assert_kind(NewTask::raw(name, "{}"), ErrorKind::InvalidInput);
    }
    for id in ["", "a\nb", &"w".repeat(101)] {
        assert_kind(WorkerId::new(id), ErrorKind::InvalidInput);
    }
    Ok(())
}

async fn with_capacity(harness: &dyn Harness, capacity: usize) -> Result<Bed, Unmet> {
    if !harness.supports_capacity() {
        return Err(Unmet::NotRun("the backend has no capacity"));
    }
    Ok(Bed::with(harness, Options { capacity: Some(capacity), ..Options::default() }).await)
}

pub(crate) async fn a_full_queue_refuses_a_batch_whole_until_there_is_room(harness: &dyn Harness) -> Verdict {
    let bed = with_capacity(harness, 3).await?;
    assert_kind(bed.enqueue_many(tasks(4)).await, ErrorKind::QueueFull);
    assert_eq!(bed.all().await?, []);
    bed.enqueue_many(tasks(3)).await?;
    let error = assert_kind(bed.enqueue(task()).await, ErrorKind::QueueFull);
    assert!(error.is_transient(), "workers make room");
    let lease = bed.claim_one().await?.lease;
    assert_kind(bed.enqueue(task()).await, ErrorKind::QueueFull);
    bed.complete(lease).await?;
    bed.enqueue(task()).await?;
    Ok(())
}

pub(crate) async fn a_repeat_and_a_duplicate_need_no_room(harness: &dyn Harness) -> Verdict {
    let bed = with_capacity(harness, 1).await?;
    let id = bed.enqueue(task().unique_key("k")).await?;
    use taskqueue_core::Enqueued::{Duplicate, Repeated};
    assert_eq!(
        bed.enqueue_many(vec![task().id(id), task().unique_key("k")]).await?,
        [Repeated(id), Duplicate(id)]
    );
    Ok(())
}

pub(crate) async fn follow_ups_beyond_the_capacity_leave_the_task_running(harness: &dyn Harness) -> Verdict {
    let bed = with_capacity(harness, 2).await?;
    let lease = bed.running().await?.lease;
    let many = tasks(5).into_iter().fold(Outcome::done(), Outcome::then);
    assert_kind(bed.settle(lease.clone(), many).await, ErrorKind::QueueFull);
    assert_eq!((bed.stats().await?.running, bed.stats().await?.pending), (1, 0));
    bed.settle(lease, Outcome::done().then(task())).await?;
    Ok(())
}
