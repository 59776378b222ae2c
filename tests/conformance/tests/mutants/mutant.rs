//! A queue that breaks one promise and keeps the others: the model, behind a wrapper that misbehaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use taskqueue_core::{
    BATCH_MAX, Claim, ClaimRequest, Cleanup, Enqueued, FinishedStatuses, Heartbeat, Lease, NewTask, Outcome,
    Priority, Queue, QueueStats, RawPayload, Reclaimed, Redrive, Result, Schedule, Settled, Settlement,
    Status, Task, TaskFilter, TaskId, TaskPage, TaskType, Timestamp, delegate_queue,
};

use crate::fault::Fault;

const HOUR: Duration = Duration::from_secs(3600);

/// What the wrapper must remember to misbehave.
#[derive(Default)]
pub(crate) struct Memory {
    leases: HashMap<TaskId, Lease>,
    last_claim: Option<Claim>,
    keys: HashMap<(Option<TaskType>, String), TaskId>,
    snoozes: HashMap<TaskId, u32>,
    stats: Option<QueueStats>,
    is_closed: bool,
}

pub(crate) struct Mutant {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) fault: Fault,
    pub(crate) memory: Arc<Mutex<Memory>>,
}

impl Mutant {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no mutant panics under its lock")
    }

    /// The lease that is live now, whatever lease is given.
    fn live(&self, lease: &Lease) -> Lease {
        self.memory().leases.get(&lease.task_id).unwrap_or(lease).clone()
    }

    /// The lease that is live now of whatever task, if the token of this one is live.
    fn of_token(&self, lease: &Lease) -> Lease {
        let is_live = self.memory().leases.values().any(|live| live.token == lease.token);
        if is_live { self.live(lease) } else { lease.clone() }
    }

    /// The task as this mutant shows it.
    fn show(&self, mut task: Task) -> Task {
        if self.has(Fault::CancelSetsNoCompletedAt) && task.status == Status::Cancelled {
            task.completed_at = None;
        }
        if self.has(Fault::SnoozeCostsAnAttempt) {
            task.attempts += self.memory().snoozes.get(&task.id).unwrap_or(&0);
        }
        if self.has(Fault::ErrorsAreLost) {
            task.last_error = None;
        }
        task
    }

    fn spoil_task(&self, mut task: NewTask) -> NewTask {
        match self.fault {
            Fault::DelaysAreIgnored => task.schedule = Schedule::Now,
            Fault::SpacesInPayloadsAreLost => {
                task.payload = RawPayload::from_stored(task.payload.as_str().replace(' ', ""));
            }
            Fault::PrioritiesAreIgnored => task.priority = Priority::default(),
            Fault::MetadataIsLost => task.metadata.clear(),
            _ => {}
        }
        task
    }

    /// The task that holds a key by this mutant's rules, which then takes the place of a new one.
    fn wrong_holder(&self, task: &NewTask) -> Option<TaskId> {
        let key = task.unique_key.clone()?;
        let scope = match self.fault {
            Fault::KeysAreNeverReleased => Some(task.task_type.clone()),
            Fault::KeysMeetAcrossTypes => None,
            _ => return None,
        };
        let holder = *self.memory().keys.entry((scope, key)).or_insert(task.id);
        (holder != task.id).then_some(holder)
    }

    async fn break_if_closed_meanwhile(&self) {
        let was_closed = self.memory().is_closed;
        tokio::task::yield_now().await;
        let is_closed = self.memory().is_closed;
        assert!(was_closed || !is_closed, "the queue was closed under a call");
    }

    async fn enqueue_one_by_one(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        let mut answers = Vec::new();
        for task in tasks {
            answers.extend(self.queue.enqueue_many(vec![task]).await?);
            tokio::task::yield_now().await;
        }
        Ok(answers)
    }

    /// What is left of the settlements once the fault has taken its part.
    async fn spoil_settlements(&self, mut settlements: Vec<Settlement>) -> Vec<Settlement> {
        for Settlement { lease, outcome } in &mut settlements {
            match (self.fault, &mut *outcome) {
                (Fault::SettleIsNotFenced, _) => *lease = self.live(lease),
                (Fault::ATokenSettlesAnyTask, _) => *lease = self.of_token(lease),
                (Fault::SnoozeCostsAnAttempt, Outcome::Snooze { .. }) => {
                    *self.memory().snoozes.entry(lease.task_id).or_default() += 1;
                }
                (Fault::FollowUpsComeAfterTheSettle, Outcome::Complete { follow_ups }) => follow_ups.clear(),
                (Fault::ReleaseIsASnooze, Outcome::Release) => *outcome = Outcome::snooze(Duration::ZERO),
                (Fault::FollowUpsComeBeforeTheSettle, Outcome::Complete { follow_ups }) => {
                    for task in follow_ups.clone() {
                        // What becomes of it is left to the settle, which enqueues it again.
                        drop(self.queue.enqueue_many(vec![task]).await);
                    }
                }
                _ => {}
            }
        }
        settlements
    }
}

delegate_queue!(
    Mutant,
    |mutant| mutant.queue,
    except enqueue_many, dequeue_many, settle_many, heartbeat_many, get, holder, list, stats, cleanup, reclaim_stale, promote_due,
    run_now, redrive, pause, resume, now, close
);

impl Mutant {
    async fn enqueue_many(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        if self.has(Fault::CloseBreaksCallsInFlight) {
            self.break_if_closed_meanwhile().await;
        }
        let mut tasks: Vec<NewTask> = tasks.into_iter().map(|task| self.spoil_task(task)).collect();
        match self.fault {
            Fault::ABatchIsStoredInReverse => {
                tasks.reverse();
                let mut answers = self.queue.enqueue_many(tasks).await?;
                answers.reverse();
                Ok(answers)
            }
            Fault::ABatchIsStoredInPart | Fault::AnEnqueueCanBeDroppedHalfDone => {
                self.enqueue_one_by_one(tasks).await
            }
            Fault::AnExistingIdIsCreatedAgain => {
                let created = |answer: Enqueued| Enqueued::Created(answer.id());
                Ok(self.queue.enqueue_many(tasks).await?.into_iter().map(created).collect())
            }
            _ => match tasks.first().and_then(|task| self.wrong_holder(task)) {
                Some(holder) if tasks.len() == 1 => Ok(vec![Enqueued::Duplicate(holder)]),
                _ => {
                    let answers = self.queue.enqueue_many(tasks.clone()).await?;
                    let pairs = tasks.iter().zip(answers);
                    Ok(pairs
                        .map(|(task, answer)| self.wrong_holder(task).map_or(answer, Enqueued::Duplicate))
                        .collect())
                }
            },
        }
    }

    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>> {
        let mut request = request.clone();
        request.validate()?;
        if self.has(Fault::ClaimsExceedTheirLimit) {
            request.limit += 1;
        }
        if self.has(Fault::ClaimsIgnoreTheirTimeout) {
            request.visibility_timeout = None;
        }
        let mut claims = match self.fault {
            Fault::ClaimsIgnoreTheOrderAcrossTypes => {
                let mut claims = Vec::new();
                for task_type in &request.types {
                    let mut one =
                        ClaimRequest::new(request.worker_id.clone(), [task_type.clone()], request.limit);
                    one.visibility_timeout = request.visibility_timeout;
                    one.limit = request.limit - claims.len();
                    if one.limit > 0 {
                        claims.extend(self.queue.dequeue_many(&one).await?);
                    }
                }
                claims
            }
            _ => self.queue.dequeue_many(&request).await?,
        };
        for claim in &mut claims {
            claim.task = self.show(claim.task.clone());
            self.memory().leases.insert(claim.task.id, claim.lease.clone());
        }
        if self.has(Fault::ClaimsAreHandedOutTwice) {
            let last = self.memory().last_claim.take();
            self.memory().last_claim = claims.first().cloned();
            claims.extend(last);
        }
        Ok(claims)
    }

    async fn settle_many(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
        let asked = settlements.clone();
        let mut answers = self.queue.settle_many(self.spoil_settlements(settlements).await).await?;
        for (answer, settlement) in answers.iter_mut().zip(asked) {
            match (self.fault, &*answer, settlement.outcome) {
                (Fault::ARepeatIsALostLease, Settled::Repeated, _) => *answer = Settled::LeaseLost,
                (
                    Fault::FollowUpsOfARepeatAreEnqueued,
                    Settled::Repeated,
                    Outcome::Complete { follow_ups },
                ) => {
                    self.queue.enqueue_many(follow_ups).await?;
                }
                (Fault::FollowUpsComeAfterTheSettle, Settled::Applied, Outcome::Complete { follow_ups }) => {
                    tokio::task::yield_now().await;
                    self.queue.enqueue_many(follow_ups).await?;
                }
                _ => {}
            }
        }
        Ok(answers)
    }

    async fn heartbeat_many(&self, leases: &[Lease], timeout: Option<Duration>) -> Result<Vec<Heartbeat>> {
        let leases: Vec<Lease> = match self.fault {
            Fault::HeartbeatIsNotFenced => leases.iter().map(|lease| self.live(lease)).collect(),
            Fault::LostLeasesAreExtended => {
                self.queue.heartbeat_many(leases, timeout).await?;
                return Ok(vec![Heartbeat::Extended; leases.len()]);
            }
            Fault::HeartbeatsDoNotExtend => return Ok(vec![Heartbeat::Extended; leases.len()]),
            _ => leases.to_vec(),
        };
        self.queue.heartbeat_many(&leases, timeout).await
    }

    async fn get(&self, id: TaskId) -> Result<Task> {
        Ok(self.show(self.queue.get(id).await?))
    }

    async fn holder(&self, task_type: &TaskType, key: &str) -> Result<Option<Task>> {
        if !self.has(Fault::FinishedTasksAreFoundByTheirKeys) {
            return Ok(self.queue.holder(task_type, key).await?.map(|task| self.show(task)));
        }
        let filter = TaskFilter { task_type: Some(task_type.clone()), ..TaskFilter::default() };
        let tasks = self.queue.list(&filter).await?.tasks;
        Ok(tasks.into_iter().rev().find(|task| task.unique_key.as_deref() == Some(key)))
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskPage> {
        let mut filter = filter.clone();
        if self.has(Fault::ALimitOfNothingIsTaken) {
            filter.limit = filter.limit.max(1);
        }
        let mut page = self.queue.list(&filter).await?;
        if self.has(Fault::ListSkipsARow) && filter.after.is_some() && !page.tasks.is_empty() {
            page.tasks.remove(0);
        }
        page.tasks = page.tasks.into_iter().map(|task| self.show(task)).collect();
        Ok(page)
    }

    async fn stats(&self) -> Result<QueueStats> {
        let stats = self.queue.stats().await?;
        match self.fault {
            Fault::StatisticsAreStale => Ok(self.memory().stats.get_or_insert(stats).clone()),
            _ => Ok(stats),
        }
    }

    async fn cleanup(&self, mut cleanup: Cleanup) -> Result<u64> {
        if self.has(Fault::CleanupIgnoresItsLimit) {
            cleanup.limit = BATCH_MAX;
        }
        if self.has(Fault::CleanupIgnoresItsStatuses) {
            cleanup.statuses = FinishedStatuses::ALL;
        }
        self.queue.cleanup(cleanup).await
    }

    async fn reclaim_stale(&self, limit: usize) -> Result<Reclaimed> {
        let is_limited = !self.has(Fault::ReclaimsIgnoreTheirLimit);
        self.queue.reclaim_stale(if is_limited { limit } else { BATCH_MAX }).await
    }

    async fn promote_due(&self, limit: usize) -> Result<u64> {
        let is_limited = !self.has(Fault::PromotionsIgnoreTheirLimit);
        self.queue.promote_due(if is_limited { limit } else { BATCH_MAX }).await
    }

    async fn run_now(&self, ids: &[TaskId]) -> Result<u64> {
        match self.fault {
            Fault::RunNowDoesNothing => return Ok(0),
            Fault::RunNowCountsTwice => return Ok(self.queue.run_now(ids).await? * 2),
            Fault::RunNowIsARedriveToo => drop(self.queue.redrive(&Redrive::Tasks(ids.to_vec())).await),
            _ => {}
        }
        self.queue.run_now(ids).await
    }

    async fn redrive(&self, redrive: &Redrive) -> Result<u64> {
        match (self.fault, redrive) {
            (Fault::RedriveIgnoresTheType, Redrive::Any { limit, .. }) => {
                self.queue.redrive(&Redrive::Any { task_type: None, limit: *limit }).await
            }
            _ => self.queue.redrive(redrive).await,
        }
    }

    async fn pause(&self, task_type: &TaskType) -> Result<()> {
        if self.has(Fault::PauseDoesNothing) { Ok(()) } else { self.queue.pause(task_type).await }
    }

    async fn resume(&self, task_type: &TaskType) -> Result<()> {
        if self.has(Fault::ResumeDoesNothing) { Ok(()) } else { self.queue.resume(task_type).await }
    }

    async fn now(&self) -> Result<Timestamp> {
        let now = self.queue.now().await?;
        Ok(if self.has(Fault::AnotherClockIsTold) { now - HOUR } else { now })
    }

    async fn close(&self) {
        self.memory().is_closed = true;
        if !self.has(Fault::CloseDoesNothing) {
            self.queue.close().await;
        }
    }
}
