//! What becomes of a task whose lease ended without a settle, and what its `last_error` then says. Pure: it
//! knows no clock and no storage; every backend applies the same decision and stores the same text.

use crate::WorkerId;

/// A running task whose lease has ended, as it stood before the reclaim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedLease<'a> {
    /// The worker whose lease it was, if the row names one.
    pub worker_id: Option<&'a WorkerId>,
    /// How many claims ran, this one included.
    pub attempts: u32,
    /// How many attempts the task may have in total.
    pub max_retries: u32,
    /// How often it was reclaimed before; this reclaim is one more.
    pub reclaims: u32,
    /// How often a task may be reclaimed.
    pub max_reclaims: u32,
}

/// Where a reclaim puts a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLeaseEnd {
    /// Ready for another worker.
    Ready,
    /// Dead letter: the attempts are used up, or one more reclaim would pass the cap.
    DeadLetter,
}

/// Decides where a reclaim puts a task.
pub fn after_lease_end(ended: &EndedLease<'_>) -> AfterLeaseEnd {
    if ended.attempts >= ended.max_retries || ended.reclaims >= ended.max_reclaims {
        AfterLeaseEnd::DeadLetter
    } else {
        AfterLeaseEnd::Ready
    }
}

/// The `last_error` of a reclaimed task.
pub fn lease_ended_error(ended: &EndedLease<'_>) -> String {
    let prefix = match after_lease_end(ended) {
        AfterLeaseEnd::Ready => "",
        AfterLeaseEnd::DeadLetter => "max retries exceeded: ",
    };
    let EndedLease { worker_id, attempts, max_retries, reclaims, max_reclaims } = ended;
    let worker = worker_id.map_or("unknown", WorkerId::as_str);
    let reclaims = u64::from(*reclaims) + 1;
    format!(
        "{prefix}the lease of worker {worker} ended without a settle \
         (attempt {attempts} of {max_retries}, reclaim {reclaims}, at most {max_reclaims})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(attempts: u32, reclaims: u32) -> EndedLease<'static> {
        EndedLease { worker_id: None, attempts, max_retries: 3, reclaims, max_reclaims: 5 }
    }

    #[test]
    fn a_task_with_attempts_and_reclaims_left_is_ready_again() {
        assert_eq!(after_lease_end(&ended(2, 4)), AfterLeaseEnd::Ready);
    }

    #[test]
    fn a_task_without_attempts_or_past_the_cap_of_reclaims_is_a_dead_letter() {
        assert_eq!(after_lease_end(&ended(3, 0)), AfterLeaseEnd::DeadLetter);
        assert_eq!(after_lease_end(&ended(1, 5)), AfterLeaseEnd::DeadLetter);
    }

    #[test]
    fn the_error_says_whose_lease_ended_and_why_the_task_is_given_up() {
        let worker = WorkerId::new("ada-1").unwrap();
        let error = lease_ended_error(&EndedLease { worker_id: Some(&worker), ..ended(3, 0) });
        assert_eq!(
            error,
            "max retries exceeded: the lease of worker ada-1 ended without a settle \
             (attempt 3 of 3, reclaim 1, at most 5)"
        );
        assert!(lease_ended_error(&ended(1, 0)).starts_with("the lease of worker unknown ended"));
    }
}
