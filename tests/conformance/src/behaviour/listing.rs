//! Listing: each filter lets through what it says, and pages show every task once.

use taskqueue_core::{Status, Task, TaskFilter, TaskId};
use uuid::Uuid;

use crate::bed::{Bed, HOUR, new_ids, of, task, task_type, tasks};
use crate::{Harness, Verdict};

async fn list(bed: &Bed, filter: TaskFilter) -> taskqueue_core::Result<Vec<TaskId>> {
    Ok(bed.list(&filter).await?.tasks.iter().map(|task| task.id).collect())
}

/// The ids from the highest to the lowest.
fn descending(mut ids: Vec<TaskId>) -> Vec<TaskId> {
    ids.sort();
    ids.reverse();
    ids
}

pub(crate) async fn tasks_are_listed_by_id_from_the_highest(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let numbers = [5, 1 << 120, 3, u128::MAX, 0, 1 << 127, (1 << 127) - 1, 1 << 64];
    let ids: Vec<TaskId> = numbers.iter().map(|number| Uuid::from_u128(*number).into()).collect();
    bed.enqueue_many(ids.iter().map(|id| task().id(*id)).collect()).await?;
    assert_eq!(list(&bed, TaskFilter::default()).await?, descending(ids));
    Ok(())
}

pub(crate) async fn a_status_lets_only_its_tasks_through(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for status in Status::ALL {
        let id = bed.bring_to(status, of(status.as_str())).await?;
        let filter = TaskFilter { status: Some(status), ..TaskFilter::default() };
        assert_eq!(list(&bed, filter).await?, [id], "{status}");
    }
    let delayed = bed.enqueue(task().delay(HOUR)).await?;
    let pending = list(&bed, TaskFilter { status: Some(Status::Pending), ..TaskFilter::default() }).await?;
    assert_eq!(pending.len(), 2);
    assert!(pending.contains(&delayed), "delayed is pending");
    assert_eq!(list(&bed, TaskFilter::default()).await?.len(), 7);
    Ok(())
}

pub(crate) async fn type_and_region_let_only_their_tasks_through(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = vec![of("a").region("eu"), of("a").region("us"), of("b").region("eu"), of("a")];
    let id = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let a = Some(task_type("a"));
    let eu = Some("eu".to_owned());
    let by_type = TaskFilter { task_type: a.clone(), ..TaskFilter::default() };
    assert_eq!(list(&bed, by_type).await?, descending(vec![id[0], id[1], id[3]]));
    let by_region = TaskFilter { region: eu.clone(), ..TaskFilter::default() };
    assert_eq!(list(&bed, by_region).await?, descending(vec![id[0], id[2]]));
    let both = TaskFilter { task_type: a, region: eu, ..TaskFilter::default() };
    assert_eq!(list(&bed, both).await?, [id[0]]);
    for other in ["EU", "eu ", "e"] {
        let none = TaskFilter { region: Some(other.to_owned()), ..TaskFilter::default() };
        assert_eq!(list(&bed, none).await?, [], "{other:?}");
    }
    Ok(())
}

pub(crate) async fn all_filters_hold_together(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    // What is pending would be claimed on the way to the others.
    let others = Status::ALL.into_iter().filter(|status| *status != Status::Pending);
    for status in others.chain([Status::Pending]) {
        let wanted = bed.bring_to(status, of("a").region("eu")).await?;
        bed.bring_to(status, of("a").region("us")).await?;
        bed.bring_to(status, of("b").region("eu")).await?;
        let filter = TaskFilter {
            task_type: Some(task_type("a")),
            status: Some(status),
            region: Some("eu".to_owned()),
            ..TaskFilter::default()
        };
        assert_eq!(list(&bed, filter.clone()).await?, [wanted], "{status}");
        assert_eq!(list(&bed, TaskFilter { after: Some(wanted), ..filter }).await?, [], "{status}");
    }
    Ok(())
}

/// Follows `next` from page to page.
async fn pages(bed: &Bed, mut filter: TaskFilter) -> taskqueue_core::Result<Vec<Task>> {
    let mut all = Vec::new();
    loop {
        let page = bed.list(&filter).await?;
        assert!(page.tasks.len() <= filter.limit);
        all.extend(page.tasks);
        match page.next {
            Some(next) => filter.after = Some(next),
            None => return Ok(all),
        }
    }
}

pub(crate) async fn pages_show_every_task_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(23)).await?;
    let all = bed.all().await?;
    assert_eq!(all.len(), 23);
    for limit in [1, 2, 5, 22, 23, 24] {
        let paged = pages(&bed, TaskFilter { limit, ..TaskFilter::default() }).await?;
        assert_eq!(paged, all, "in pages of {limit}");
    }
    Ok(())
}

pub(crate) async fn pages_of_a_filter_show_every_match_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(30)).await?;
    for claim in bed.claim(20).await?.into_iter().take(12) {
        bed.complete(claim.lease).await?;
    }
    for (status, count) in [(Status::Completed, 12), (Status::Running, 8), (Status::Pending, 10)] {
        let filter = TaskFilter { status: Some(status), limit: 3, ..TaskFilter::default() };
        let ids: Vec<TaskId> = pages(&bed, filter.clone()).await?.iter().map(|task| task.id).collect();
        assert_eq!(ids.len(), count, "{status}");
        assert_eq!(ids, descending(ids.clone()), "{status}");
        assert_eq!(list(&bed, TaskFilter { offset: 4, ..filter }).await?, ids[4..7], "{status}");
    }
    Ok(())
}

pub(crate) async fn tasks_that_come_between_pages_shift_no_page(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(6)).await?;
    let all = bed.all().await?;
    let first = bed.list(&TaskFilter { limit: 3, ..TaskFilter::default() }).await?;
    bed.enqueue_many(tasks(3)).await?;
    let after = first.next;
    assert_eq!(after, Some(all[2].id));
    let second = bed.list(&TaskFilter { limit: 3, after, ..TaskFilter::default() }).await?;
    assert_eq!(second.tasks, all[3..]);
    Ok(())
}

pub(crate) async fn after_may_name_an_id_that_is_not_there(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for number in [10, 20, 30] {
        bed.enqueue(task().id(Uuid::from_u128(number))).await?;
    }
    let after = Some(Uuid::from_u128(25).into());
    let listed = list(&bed, TaskFilter { after, ..TaskFilter::default() }).await?;
    assert_eq!(listed, [Uuid::from_u128(20).into(), Uuid::from_u128(10).into()]);
    let after = Some(Uuid::from_u128(10).into());
    assert_eq!(list(&bed, TaskFilter { after, ..TaskFilter::default() }).await?, []);
    Ok(())
}

pub(crate) async fn an_offset_passes_over_matching_tasks(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many((0..10).map(|n| of(["a", "b"][n % 2])).collect()).await?;
    let filter = TaskFilter { task_type: Some(task_type("a")), ..TaskFilter::default() };
    let all = list(&bed, filter.clone()).await?;
    let shifted = TaskFilter { offset: 2, limit: 2, ..filter.clone() };
    assert_eq!(list(&bed, shifted).await?, all[2..4]);
    assert_eq!(list(&bed, TaskFilter { offset: 5, ..filter.clone() }).await?, []);
    assert_eq!(list(&bed, TaskFilter { offset: 1_000_000, ..filter.clone() }).await?, []);
    let both = TaskFilter { offset: 1, after: Some(all[1]), ..filter };
    assert_eq!(list(&bed, both).await?, all[3..]);
    Ok(())
}

pub(crate) async fn an_empty_queue_lists_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let page = bed.list(&TaskFilter::default()).await?;
    assert_eq!((page.tasks, page.next), (Vec::new(), None));
    Ok(())
}

pub(crate) async fn a_hundred_tasks_are_a_page_by_default(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(101)).await?;
    let page = bed.list(&TaskFilter::default()).await?;
    assert_eq!(page.tasks.len(), 100);
    assert_eq!(page.next, Some(page.tasks[99].id));
    Ok(())
}
