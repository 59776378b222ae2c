//! Enqueue: what goes in comes out as it was, a batch as a whole.

use taskqueue_core::{Enqueued, ErrorKind, NewTask, Payload, Priority, Status, TaskFilter, TaskId};
use uuid::Uuid;

use crate::bed::{
    Bed, HOUR, WAIT_MAX, assert_kind, new_ids, of, request_of, task, task_type, tasks, wait_until,
};
use crate::{Harness, Options, Verdict};

pub(crate) async fn a_plain_task_is_pending_now_with_the_defaults(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let now = bed.now().await;
    let id = bed.enqueue(task()).await?;
    let stored = bed.get(id).await?;
    assert_eq!(stored.id, id);
    assert_eq!(stored.task_type.as_str(), "task");
    assert_eq!((stored.status, stored.priority), (Status::Pending, Priority::NORMAL));
    assert_eq!((stored.attempts, stored.max_retries, stored.reclaims), (0, 3, 0));
    bed.assert_time(stored.created_at, now);
    assert_eq!((stored.scheduled_at, stored.updated_at), (stored.created_at, stored.created_at));
    assert_eq!((stored.started_at, stored.completed_at, stored.retry_after), (None, None, None));
    assert_eq!((stored.last_error, stored.region, stored.worker_id), (None, None, None));
    assert_eq!((stored.unique_key, stored.metadata.len()), (None, 0));
    Ok(())
}

pub(crate) async fn every_field_that_was_given_comes_back(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let at = bed.now().await + HOUR;
    let id = TaskId::for_unique_key(&task_type("a.b:c-d_9"), "key ✓");
    let given = NewTask::raw("a.b:c-d_9", r#"{"n":1}"#)?
        .id(id)
        .priority(Priority(-7))
        .scheduled_at(at)
        .max_retries(9)
        .unique_key("key ✓")
        .region("eu-central-1 ✓")
        .metadata("traceparent", "00-4bf9")
        .metadata("ключ", "значение ✓");
    let metadata = given.metadata.clone();
    assert_eq!(bed.enqueue(given).await?, id);
    let stored = bed.get(id).await?;
    assert_eq!((stored.task_type.as_str(), stored.payload.as_str()), ("a.b:c-d_9", r#"{"n":1}"#));
    assert_eq!((stored.priority, stored.scheduled_at, stored.max_retries), (Priority(-7), at, 9));
    assert_eq!(stored.unique_key.as_deref(), Some("key ✓"));
    assert_eq!(stored.region.as_deref(), Some("eu-central-1 ✓"));
    assert_eq!(stored.metadata, metadata);
    Ok(())
}

pub(crate) async fn a_claim_and_a_listing_carry_the_same_task_as_get(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let given = task().unique_key("k").region("eu").metadata("a", "b").priority(Priority::URGENT);
    let claim = bed.claim_new(given).await?;
    assert_eq!(claim.task, bed.get(claim.task.id).await?);
    assert_eq!(bed.all().await?, [claim.task]);
    Ok(())
}

/// Texts that a careless store changes: key order, duplicate keys, spaces, number forms, escapes, unicode.
const PAYLOADS: [&str; 14] = [
    "null",
    "true",
    r#""""#,
    " {\t\"b\" : 1,\r\n \"a\":2 } ",
    r#"{"a":1,"a":2}"#,
    "123456789012345678901234567890",
    "9007199254740993",
    "-0.0",
    "1.0e+2",
    "1e400",
    r#""\u0000\u00e9\/\ud83d\ude00""#,
    "\"é e\u{301} 漢字 😀 \u{202e} \u{10ffff}\"",
    r#"{"":[[],{},"'; DROP TABLE tasks; --","$1 ? :a %s"]}"#,
    "\"\u{7f}\u{fffd}\u{feff}\"",
];

pub(crate) async fn payload_text_comes_back_byte_for_byte(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for text in PAYLOADS {
        let claim = bed.claim_new(NewTask::raw("task", text)?).await?;
        assert_eq!(claim.task.payload.as_str(), text, "as claimed");
        assert_eq!(bed.get(claim.task.id).await?.payload.as_str(), text, "as got");
        let listed = bed.list(&TaskFilter { limit: 1, ..TaskFilter::default() }).await?;
        assert_eq!(listed.tasks[0].payload.as_str(), text, "as listed");
    }
    Ok(())
}

pub(crate) async fn a_payload_stays_as_it_is_through_a_whole_life(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let text = PAYLOADS[3];
    let claim = bed.claim_new(NewTask::raw("task", text)?).await?;
    bed.release(claim.lease).await?;
    let claim = bed.claim_one().await?;
    bed.complete(claim.lease).await?;
    assert_eq!(bed.get(claim.task.id).await?.payload.as_str(), text);
    Ok(())
}

pub(crate) async fn a_payload_of_exactly_the_limit_comes_back(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let text = format!("\"{}\"", "x".repeat(taskqueue_core::PAYLOAD_BYTES_MAX_DEFAULT - 2));
    let claim = bed.claim_new(NewTask::raw("task", text.as_str())?).await?;
    assert!(claim.task.payload.as_str() == text, "1 MiB comes back as it was");
    Ok(())
}

pub(crate) async fn the_payload_limit_can_be_configured_and_counts_bytes(harness: &dyn Harness) -> Verdict {
    let bed = Bed::with(harness, Options { payload_bytes_max: 10, ..Options::default() }).await;
    bed.enqueue(NewTask::raw("task", "\"éééé\"")?).await?;
    assert_kind(bed.enqueue(NewTask::raw("task", "\"éééé1\"")?).await, ErrorKind::InvalidPayload);
    assert_eq!(bed.all().await?.len(), 1);
    Ok(())
}

pub(crate) async fn a_batch_is_answered_in_its_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = tasks(50);
    let expected: Vec<_> = new_ids(&batch).into_iter().map(Enqueued::Created).collect();
    assert_eq!(bed.enqueue_many(batch).await?, expected);
    assert_eq!(bed.all().await?.len(), 50);
    Ok(())
}

pub(crate) async fn a_batch_may_mix_types_times_and_priorities(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = vec![of("a"), of("b").delay(HOUR), of("a").priority(Priority::LOW), of("c").unique_key(1)];
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let claims = bed.dequeue_many(&request_of(&["a", "b", "c"], 10)).await?;
    assert_eq!(crate::bed::ids(&claims), [expected[0], expected[3], expected[2]]);
    Ok(())
}

pub(crate) async fn an_empty_batch_is_answered_with_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    assert_eq!(bed.enqueue_many(Vec::new()).await?, []);
    assert_eq!(bed.all().await?, []);
    Ok(())
}

pub(crate) async fn a_batch_with_one_bad_task_stores_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::with(harness, Options { payload_bytes_max: 100, ..Options::default() }).await;
    let mut batch = tasks(3);
    batch.push(NewTask::raw("task", format!("\"{}\"", "x".repeat(99)))?);
    let bad = batch[3].id;
    let error = assert_kind(bed.enqueue_many(batch).await, ErrorKind::InvalidPayload);
    assert_eq!(error.task_id(), Some(bad), "the error names the task");
    assert_eq!(bed.all().await?, []);
    Ok(())
}

pub(crate) async fn any_uuid_is_an_id(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for uuid in [Uuid::nil(), Uuid::max(), Uuid::from_u128(1), Uuid::from_u128(0x7f << 120)] {
        let id = TaskId::from(uuid);
        assert_eq!(bed.enqueue(task().id(id)).await?, id);
        assert_eq!(bed.get(id).await?.id, id);
    }
    Ok(())
}

pub(crate) async fn a_typed_payload_is_enqueued_by_itself(harness: &dyn Harness) -> Verdict {
    struct Welcome;
    impl Payload for Welcome {
        const TYPE: &'static str = "welcome";
    }
    impl serde::Serialize for Welcome {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str("hello")
        }
    }
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(&Welcome).await?;
    let stored = bed.get(id).await?;
    assert_eq!((stored.task_type.as_str(), stored.payload.as_str()), ("welcome", "\"hello\""));
    Ok(())
}

pub(crate) async fn get_of_an_unknown_id_is_task_not_found(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = TaskId::generate();
    let error = assert_kind(bed.get(id).await, ErrorKind::TaskNotFound);
    assert_eq!(error.task_id(), Some(id));
    Ok(())
}

pub(crate) async fn a_task_survives_the_instance_that_enqueued_it(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    let id = bed.enqueue(task().unique_key("k").metadata("a", "b")).await?;
    let stored = bed.get(id).await?;
    bed.close().await;
    assert_eq!(other.get(id).await?, stored);
    assert_eq!(bed.reopen().await?.get(id).await?, stored);
    Ok(())
}

pub(crate) async fn another_instance_claims_what_this_one_enqueued(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    assert_eq!(other.dequeue_many(&request_of(&["task"], 1)).await?, []);
    let id = bed.enqueue(task()).await?;
    let claim =
        wait_until(async || other.dequeue(&crate::bed::worker(), &[crate::bed::task_type("task")]).await)
            .await?;
    assert_eq!(claim.task.id, id);
    bed.complete(claim.lease).await?;
    assert_eq!(other.get(id).await?.status, Status::Completed);
    Ok(())
}

pub(crate) async fn enqueue_rouses_those_who_listen(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut listener = bed.wake_up().listen();
    let task = task();
    for call in ["an enqueue", "its repetition: the first call may have died before it roused anybody"] {
        bed.enqueue_many(vec![task.clone()]).await?;
        let roused = tokio::time::timeout(WAIT_MAX, listener.notified()).await;
        assert!(roused.is_ok(), "a listener hears of {call}");
    }
    Ok(())
}
