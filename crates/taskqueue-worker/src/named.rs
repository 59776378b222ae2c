//! How a log line names the tasks of a batch. A filter may drop the spans of tasks, so each line that tells of a failure
//! names its task itself; it knows no stage.

use std::fmt::Write;

use taskqueue_core::Lease;

/// The most tasks that one line names.
const NAMED_MAX: usize = 10;

/// The first tasks of a batch by id, type and attempt, and how many more there are.
pub(crate) fn named<'l>(leases: impl ExactSizeIterator<Item = &'l Lease>) -> String {
    let (mut text, tasks) = (String::new(), leases.len());
    for (index, Lease { task_id, task_type, attempt, .. }) in leases.take(NAMED_MAX).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Writing into a text does not fail.
        let _ = write!(text, "{comma}{task_id} ({task_type}, attempt {attempt})");
    }
    if tasks > NAMED_MAX {
        let _ = write!(text, " and {} more", tasks - NAMED_MAX);
    }
    text
}

#[cfg(test)]
mod tests {
    use taskqueue_core::{LeaseToken, TaskId, TaskType, clock::Clock, clock::ManualClock};

    use super::*;

    fn lease() -> Lease {
        let now = ManualClock::default().now();
        Lease {
            task_id: TaskId::generate(),
            task_type: TaskType::new("mail").expect("a valid type"),
            token: LeaseToken::generate(),
            number: 1,
            attempt: 2,
            max_retries: 3,
            claimed_at: now,
            until: now,
        }
    }

    #[test]
    fn the_first_ten_tasks_of_a_batch_are_named_and_the_others_counted() {
        let leases: Vec<Lease> = (0..12).map(|_| lease()).collect();
        let name = |lease: &Lease| format!("{} (mail, attempt 2)", lease.task_id);
        assert_eq!(named(leases[..1].iter()), name(&leases[0]));
        assert_eq!(named(leases[..10].iter()), leases[..10].iter().map(name).collect::<Vec<_>>().join(", "));
        let text = named(leases.iter());
        assert!(text.ends_with(" and 2 more") && text.contains(&name(&leases[9])), "{text}");
        assert!(!text.contains(&name(&leases[10])), "{text}");
    }
}
