//! The replay of a history, which compares a backend with the model after every step. It knows no backend.
//!
//! Where the lifecycle leaves an order open (tasks that are due at the same microsecond, say), the backend's
//! choice is followed; where it does not, nothing else than the model's answer is accepted.

use std::collections::HashSet;
use std::time::Duration;

use proptest::sample::Index;
use taskqueue_core::{
    BATCH_MAX, ClaimRequest, Cleanup, Lease, LeaseToken, NewTask, Outcome, Priority, Redrive, RetryPolicy,
    Settlement, Task, TaskFilter, TaskId, TaskType, Timestamp,
};
use uuid::Uuid;

use crate::bed::{Bed, HOUR, SECOND, of, request_of, task_type};
use crate::history::{Draft, End, Step, TYPES, When};
use crate::model::{LEASE_ENDED, Model, Times};
use crate::{Harness, Options};

/// How much time passes before each step, so that what two calls make ready never mixes.
const TICK: Duration = Duration::from_millis(1);
/// Leases are picked among this many of the latest ones: older ones are all lost in the same way.
const RECENT: usize = 12;
/// In how many rounds the end of a history finishes every task.
const ROUNDS_MAX: usize = 10;

/// Replays a history on a fresh queue and on the model, and then lets every task come to its end.
pub(crate) async fn replay(harness: &dyn Harness, steps: Vec<Step>) {
    let options = Options {
        retry: RetryPolicy::linear(30 * SECOND).jitter(0.0),
        max_reclaims: 1,
        visibility_timeout: 300 * SECOND,
        ..Options::default()
    };
    let bed = Bed::with(harness, options.clone()).await;
    let model = Model::new(options);
    let mut replay = Replay { bed, model, leases: Vec::new(), ids: Vec::new(), tokens: HashSet::new() };
    for step in steps {
        replay.take(step).await;
        replay.compare().await;
    }
    replay.finish_everything().await;
}

struct Replay {
    bed: Bed,
    model: Model,
    leases: Vec<Lease>,
    ids: Vec<TaskId>,
    tokens: HashSet<(TaskId, LeaseToken)>,
}

impl Replay {
    async fn take(&mut self, step: Step) {
        self.bed.advance(TICK).await;
        match step {
            Step::Enqueue(drafts) => self.enqueue(drafts).await,
            Step::Claim { types, limit, lease_seconds } => self.claim(&types, limit, lease_seconds).await,
            Step::Settle(ends) => self.settle(ends).await,
            Step::Heartbeat(picks, seconds) => self.heartbeat(picks, seconds.map(Duration::from_secs)).await,
            Step::Cancel(pick) => self.cancel(pick).await,
            Step::Advance { seconds } => self.bed.advance(Duration::from_secs(seconds)).await,
            Step::AdvanceToNext => self.advance_to_next().await,
            Step::Promote { limit } => drop(self.promote(limit).await),
            Step::Reclaim { limit } => drop(self.reclaim(limit).await),
            Step::Cleanup { age_seconds, limit, statuses } => {
                self.cleanup(Cleanup::new(Duration::from_secs(age_seconds), limit).only(statuses)).await;
            }
            Step::RunNow(picks) => self.run_now(self.picked(picks)).await,
            Step::RedriveTasks(picks) => self.redrive(Redrive::Tasks(self.picked(picks))).await,
            Step::RedriveAny(name) => {
                self.redrive(Redrive::Any { task_type: name.map(task_type), limit: BATCH_MAX }).await;
            }
            Step::Pause(name) => {
                self.bed.pause(&task_type(name)).await.expect("a pause is answered");
                self.model.pause(&task_type(name));
            }
            Step::Resume(name) => {
                self.bed.resume(&task_type(name)).await.expect("a resume is answered");
                self.model.resume(&task_type(name));
            }
            Step::Holder(name, key) => self.holder(&task_type(name), &key.to_string()).await,
            Step::List { task_type: name, status, limit, offset } => {
                let task_type = name.map(task_type);
                self.list(TaskFilter { task_type, status, limit, offset, ..TaskFilter::default() }).await;
            }
        }
    }

    async fn enqueue(&mut self, drafts: Vec<Draft>) {
        let now = self.bed.now().await;
        let tasks: Vec<NewTask> = drafts.into_iter().map(|draft| self.new_task(draft, now)).collect();
        let expected = self.model.enqueue_many(now, tasks.clone()).expect("the tasks are valid");
        self.ids.extend(tasks.iter().map(|task| task.id));
        assert_eq!(self.bed.enqueue_many(tasks).await.expect("an enqueue is answered"), expected);
    }

    fn new_task(&self, draft: Draft, now: Timestamp) -> NewTask {
        let fresh = TaskId::from(Uuid::from_u128(draft.id));
        let id = draft.repeats.and_then(|pick| pick_of(&self.ids, pick)).unwrap_or(fresh);
        let mut task =
            of(draft.task_type).id(id).priority(Priority(draft.priority)).max_retries(draft.max_retries);
        task = match draft.when {
            When::Now => task,
            When::At { seconds_from_now: ahead @ 0.. } => task.scheduled_at(now + seconds(ahead)),
            When::At { seconds_from_now: ago } => task.scheduled_at(now - seconds(ago)),
            When::After { seconds } => task.delay(Duration::from_secs(seconds)),
        };
        if let Some(key) = draft.key {
            task = task.unique_key(key);
        }
        match draft.region {
            Some(region) => task.region(region),
            None => task,
        }
    }

    /// Claims, follows the backend in the order of those that share a place, and in nothing else.
    async fn claim(&mut self, types: &[&'static str], limit: usize, lease_seconds: Option<u64>) {
        let mut request: ClaimRequest = request_of(types, limit);
        request.visibility_timeout = lease_seconds.map(Duration::from_secs);
        let now = self.bed.now().await;
        let candidates = self.model.candidates(&request);
        let claims = self.bed.dequeue_many(&request).await.expect("a claim is answered");
        let place_of = |id| candidates.iter().find(|(_, other)| *other == id).map(|(place, _)| *place);
        let places: Vec<_> = claims.iter().map(|claim| place_of(claim.task.id)).collect();
        let expected: Vec<_> = candidates.iter().take(limit).map(|(place, _)| Some(*place)).collect();
        assert_eq!(places, expected, "which are claimed, and in which order");
        for claim in claims {
            let token = (claim.task.id, claim.lease.token);
            assert!(self.tokens.insert(token), "no lease has the token of an earlier one of its task");
            let expected = self.model.claim(now, &request, claim.task.id, claim.lease.token);
            self.assert_agrees(&claim.task, &expected.task);
            self.bed.assert_time(claim.lease.until, expected.lease.until);
            self.bed.assert_time(claim.lease.claimed_at, expected.lease.claimed_at);
            // A backend may add the place, which is less than a tick.
            let is_place = (claim.ready_at - expected.ready_at).to_std().is_ok_and(|place| place < TICK);
            self.bed
                .assert_time(if is_place { expected.ready_at } else { claim.ready_at }, expected.ready_at);
            let Lease { claimed_at, until, .. } = claim.lease;
            assert_eq!(claim.lease, Lease { claimed_at, until, ..expected.lease });
            self.leases.push(claim.lease);
        }
    }

    async fn settle(&mut self, ends: Vec<(Index, End)>) {
        let now = self.bed.now().await;
        let mut settlements: Vec<Settlement> = Vec::new();
        for (pick, end) in ends {
            let Some(lease) = self.recent_lease(pick) else { return };
            if settlements.iter().all(|other| other.lease.task_id != lease.task_id) {
                let outcome = self.outcome(end, now);
                settlements.push(Settlement::new(lease, outcome));
            }
        }
        // In which order a batch releases keys and takes them for follow-ups is open.
        if settlements.len() > 1 {
            settlements.iter_mut().for_each(|settlement| drop_follow_ups(&mut settlement.outcome));
        }
        let expected = self.model.settle_many(now, settlements.clone()).expect("the settlements are valid");
        let answers = self.bed.settle_many(settlements.clone()).await.expect("a settle is answered");
        assert_eq!(answers, expected, "{settlements:?}");
    }

    fn outcome(&mut self, end: End, now: Timestamp) -> Outcome {
        match end {
            End::Complete(drafts) => {
                let tasks: Vec<NewTask> = drafts.into_iter().map(|draft| self.new_task(draft, now)).collect();
                self.ids.extend(tasks.iter().map(|task| task.id));
                tasks.into_iter().fold(Outcome::done(), Outcome::then)
            }
            End::Fail => Outcome::fail("failed"),
            End::RetryAfter { seconds } => Outcome::retry_after("later", Duration::from_secs(seconds)),
            End::Permanent => Outcome::permanent("never"),
            End::Snooze { seconds } => Outcome::snooze(Duration::from_secs(seconds)),
            End::Release => Outcome::Release,
        }
    }

    fn recent_lease(&self, pick: Index) -> Option<Lease> {
        let recent = &self.leases[self.leases.len().saturating_sub(RECENT)..];
        (!recent.is_empty()).then(|| recent[pick.index(recent.len())].clone())
    }

    async fn heartbeat(&mut self, picks: Vec<Index>, timeout: Option<Duration>) {
        let leases: Vec<Lease> = picks.into_iter().filter_map(|pick| self.recent_lease(pick)).collect();
        let now = self.bed.now().await;
        let expected = self.model.heartbeat_many(now, &leases, timeout).expect("the timeout is valid");
        let answers = self.bed.heartbeat_many(&leases, timeout).await.expect("a heartbeat is answered");
        assert_eq!(answers, expected);
    }

    async fn cancel(&mut self, pick: Index) {
        let Some(id) = pick_of(&self.ids, pick) else { return };
        let now = self.bed.now().await;
        let (answer, expected) = (self.bed.cancel(id).await, self.model.cancel(now, id));
        let kind = |error: taskqueue_core::Error| error.kind();
        assert_eq!(answer.map_err(kind), expected.map_err(kind));
    }

    /// Clears what is due now, so that at the next event nothing else happens.
    async fn advance_to_next(&mut self) {
        let now = loop {
            self.promote(BATCH_MAX).await;
            self.bed.advance(TICK).await;
            self.reclaim(BATCH_MAX).await;
            let now = self.bed.now().await;
            // What became due in the tick between the two calls is for another round.
            if !self.model.has_due(now) {
                break now;
            }
            self.bed.advance(TICK).await;
        };
        let Some((next, which)) = self.model.next_event(now) else { return };
        let ahead = (next - now).to_std().expect("the next event is ahead");
        if self.bed.clock_is_manual() {
            self.bed.advance(ahead - Duration::from_micros(1)).await;
            assert_eq!((self.promote(BATCH_MAX).await, self.reclaim(BATCH_MAX).await), (0, 0), "too early");
            self.bed.advance(Duration::from_micros(1)).await;
        } else {
            self.bed.advance(ahead).await;
        }
        match which {
            Times::LeaseEnd => self.reclaim(BATCH_MAX).await,
            Times::Due => self.promote(BATCH_MAX).await,
        };
    }

    async fn promote(&mut self, limit: usize) -> u64 {
        let now = self.bed.now().await;
        let limit = self.model.fair_limit(Times::Due, now, limit);
        let expected = self.model.promote_due(now, limit).expect("the limit is valid");
        assert_eq!(self.bed.promote_due(limit).await.expect("a promotion is answered"), expected, "promoted");
        expected
    }

    async fn run_now(&mut self, ids: Vec<TaskId>) {
        let now = self.bed.now().await;
        let expected = self.model.run_now(now, &ids).expect("the ids are few");
        assert_eq!(self.bed.run_now(&ids).await.expect("the call is answered"), expected, "run now");
    }

    async fn reclaim(&mut self, limit: usize) -> u64 {
        let now = self.bed.now().await;
        let limit = self.model.fair_limit(Times::LeaseEnd, now, limit);
        let expected = self.model.reclaim_stale(now, limit).expect("the limit is valid");
        assert_eq!(
            self.bed.reclaim_stale(limit).await.expect("a reclaim is answered"),
            expected,
            "reclaimed"
        );
        expected.total()
    }

    /// Follows the backend in which of those that are old enough go first.
    async fn cleanup(&mut self, cleanup: Cleanup) {
        let now = self.bed.now().await;
        let removed = self.bed.cleanup(cleanup).await.expect("a cleanup is answered");
        let old = self.model.old(now, cleanup);
        assert_eq!(removed, old.len().min(cleanup.limit) as u64, "cleaned up");
        let left: HashSet<TaskId> =
            self.bed.all().await.expect("a listing is answered").iter().map(|task| task.id).collect();
        let gone: HashSet<TaskId> = old.into_iter().filter(|id| !left.contains(id)).collect();
        assert_eq!(gone.len() as u64, removed, "it says how many went");
        self.model.remove(&gone);
    }

    /// Of dead letters with one key only the first is named: which of them takes the key is open.
    async fn redrive(&mut self, redrive: Redrive) {
        let wanted = match &redrive {
            Redrive::Tasks(ids) => ids.clone(),
            Redrive::Any { task_type, .. } => self.model.dead_letters(task_type.as_ref()),
        };
        let mut keys = HashSet::new();
        let mut first_with_key = |task: &Task| match &task.unique_key {
            Some(key) => keys.insert((task.task_type.clone(), key.clone())),
            None => true,
        };
        let tasks = wanted.iter().filter_map(|id| self.model.get(*id).ok());
        let ids: Vec<TaskId> = tasks.filter(|task| first_with_key(task)).map(|task| task.id).collect();
        let redrive = if ids.len() == wanted.len() { redrive } else { Redrive::Tasks(ids) };
        let now = self.bed.now().await;
        let expected = self.model.redrive(now, &redrive).expect("the request is valid");
        assert_eq!(self.bed.redrive(&redrive).await.expect("a redrive is answered"), expected, "redriven");
    }

    fn picked(&self, picks: Vec<Index>) -> Vec<TaskId> {
        picks.into_iter().filter_map(|pick| pick_of(&self.ids, pick)).collect()
    }

    async fn holder(&self, task_type: &TaskType, key: &str) {
        let found = self.bed.holder(task_type, key).await.expect("a key is looked for");
        let expected = self.model.holder(task_type, key).expect("the key is valid");
        self.assert_all_agree(found.as_slice(), expected.as_slice());
    }

    async fn list(&self, filter: TaskFilter) {
        let page = self.bed.list(&filter).await.expect("a listing is answered");
        let expected = self.model.list(&filter).expect("the filter is valid");
        assert_eq!(page.next, expected.next, "{filter:?}");
        self.assert_all_agree(&page.tasks, &expected.tasks);
    }

    /// Compares all that users see.
    async fn compare(&self) {
        self.list(TaskFilter { limit: BATCH_MAX, ..TaskFilter::default() }).await;
        let mut stats = self.bed.stats().await.expect("the statistics are answered");
        let expected = self.model.stats();
        let mean_ms = [stats.avg_processing_time_ms, expected.avg_processing_time_ms];
        let tolerance_ms = if self.bed.clock_is_manual() { 0.5 } else { 5_000.0 };
        assert!((mean_ms[0] - mean_ms[1]).abs() <= tolerance_ms, "mean processing times: {mean_ms:?}");
        stats.avg_processing_time_ms = expected.avg_processing_time_ms;
        stats.oldest_pending = self.adopt_option(stats.oldest_pending, expected.oldest_pending);
        assert_eq!(stats, expected);
        let paused: Vec<TaskType> = self.bed.paused().await.expect("the paused types are answered");
        assert_eq!(paused, self.model.paused());
    }

    fn assert_all_agree(&self, actual: &[Task], expected: &[Task]) {
        let ids = |tasks: &[Task]| tasks.iter().map(|task| task.id).collect::<Vec<_>>();
        assert_eq!(ids(actual), ids(expected));
        actual.iter().zip(expected).for_each(|(actual, expected)| self.assert_agrees(actual, expected));
    }

    /// Asserts that a task is the model's, as exactly as the clock allows.
    fn assert_agrees(&self, actual: &Task, expected: &Task) {
        let mut seen = actual.clone();
        seen.scheduled_at = self.adopt(seen.scheduled_at, expected.scheduled_at);
        seen.created_at = self.adopt(seen.created_at, expected.created_at);
        seen.updated_at = self.adopt(seen.updated_at, expected.updated_at);
        seen.started_at = self.adopt_option(seen.started_at, expected.started_at);
        seen.completed_at = self.adopt_option(seen.completed_at, expected.completed_at);
        seen.retry_after = self.adopt_option(seen.retry_after, expected.retry_after);
        let lease_ended = expected.last_error.as_deref() == Some(LEASE_ENDED);
        if lease_ended && seen.last_error.as_ref().is_some_and(|error| error.contains("lease")) {
            seen.last_error.clone_from(&expected.last_error);
        }
        assert_eq!(seen, *expected);
    }

    /// The expected time where it is the same as the clock allows, else the actual one.
    fn adopt(&self, actual: Timestamp, expected: Timestamp) -> Timestamp {
        if self.bed.same(actual, expected) { expected } else { actual }
    }

    fn adopt_option(&self, actual: Option<Timestamp>, expected: Option<Timestamp>) -> Option<Timestamp> {
        Some(self.adopt(actual?, expected.unwrap_or(actual?)))
    }

    /// Liveness: with workers that complete what they claim, every task is finished soon.
    async fn finish_everything(mut self) {
        for name in TYPES {
            self.take(Step::Resume(name)).await;
        }
        for _ in 0..ROUNDS_MAX {
            self.bed.advance(HOUR).await;
            self.take(Step::Promote { limit: BATCH_MAX }).await;
            self.take(Step::Reclaim { limit: BATCH_MAX }).await;
            let before = self.leases.len();
            self.take(Step::Claim { types: TYPES.to_vec(), limit: BATCH_MAX, lease_seconds: None }).await;
            for lease in self.leases.split_off(before) {
                self.bed.advance(TICK).await;
                let now = self.bed.now().await;
                let done = vec![Settlement::new(lease, Outcome::done())];
                let expected = self.model.settle_many(now, done.clone()).expect("the settlement is valid");
                assert_eq!(self.bed.settle_many(done).await.expect("a settle is answered"), expected);
            }
            self.compare().await;
            if self.model.tasks().all(|task| task.status.is_finished()) {
                return;
            }
        }
        panic!("some tasks never come to an end");
    }
}

fn pick_of(ids: &[TaskId], pick: Index) -> Option<TaskId> {
    (!ids.is_empty()).then(|| ids[pick.index(ids.len())])
}

fn seconds(of: i64) -> Duration {
    Duration::from_secs(of.unsigned_abs())
}

fn drop_follow_ups(outcome: &mut Outcome) {
    if let Outcome::Complete { follow_ups } = outcome {
        follow_ups.clear();
    }
}
