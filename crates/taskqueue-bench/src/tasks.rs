//! The work that is timed: building tasks, filling a queue, cycling batches through it. It times nothing.

use taskqueue_core::{
    BATCH_MAX, Claim, ClaimRequest, NewTask, Outcome, Queue, RawPayload, Result, Settlement, TaskType,
    WorkerId,
};

/// The payload of every task: 200 bytes, the size of a small real one.
pub(crate) const PAYLOAD: &str = r#"{"bucket":"photos","key":"2026/01/01/holidays/IMG_0001.jpeg","size":482113,"etag":"9e107d9d372bb6826bd81d3542a419d6","content_type":"image/jpeg","owner":"a.lovelace","region":"eu-central-1","parts":1}"#;
/// The type of every task.
pub(crate) const TYPE: &str = "bench";

/// One worker and the type of task that it works.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The type of every task.
    pub task_type: TaskType,
    payload: RawPayload,
    worker_id: WorkerId,
}

impl Workload {
    /// The work of the worker of this name.
    ///
    /// # Errors
    /// `InvalidInput` when the name is no worker id.
    pub fn new(worker: &str) -> Result<Self> {
        let payload = RawPayload::parse(PAYLOAD)?;
        Ok(Self { task_type: TaskType::new(TYPE)?, payload, worker_id: WorkerId::new(worker)? })
    }

    /// A request for up to `limit` of the tasks.
    pub fn request(&self, limit: usize) -> ClaimRequest {
        ClaimRequest::new(self.worker_id.clone(), [self.task_type.clone()], limit)
    }

    /// New tasks, each with its own id.
    pub fn tasks(&self, count: usize) -> Vec<NewTask> {
        (0..count).map(|_| NewTask::of_parts(self.task_type.clone(), self.payload.clone())).collect()
    }

    /// Enqueues `count` tasks in large batches.
    ///
    /// # Errors
    /// As the queue's.
    pub async fn fill(&self, queue: &dyn Queue, count: usize) -> Result<()> {
        for start in (0..count).step_by(BATCH_MAX / 2) {
            queue.enqueue_many(self.tasks((count - start).min(BATCH_MAX / 2))).await?;
        }
        Ok(())
    }

    /// Enqueues, claims and completes `batches` batches of `size`, one after the other.
    ///
    /// # Errors
    /// As the queue's.
    pub async fn cycle(&self, queue: &dyn Queue, batches: usize, size: usize) -> Result<()> {
        let request = self.request(size);
        for _ in 0..batches {
            queue.enqueue_many(self.tasks(size)).await?;
            let claims = queue.dequeue_many(&request).await?;
            assert_eq!(claims.len(), size, "what was enqueued is claimed");
            queue.settle_many(completed(claims)).await?;
        }
        Ok(())
    }
}

/// The settlements that complete these claims.
pub fn completed(claims: Vec<Claim>) -> Vec<Settlement> {
    claims.into_iter().map(|claim| Settlement::new(claim.lease, Outcome::done())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_size_that_figures_name() {
        assert_eq!(PAYLOAD.len(), 200);
        Workload::new("w").expect("the payload is JSON");
    }
}
