//! The proof: what the receiver got, held against what was enqueued, event by event. Pure; it owns what "lost",
//! "altered" and "twice" mean.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use taskqueue_core::payloads::EventPayload;
use taskqueue_core::{TaskId, Timestamp};

use super::events::Event;

/// What of an event must arrive unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) event_name: String,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) etag: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) sequencer: String,
}

/// One request that the receiver answered with success.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    /// The task that it says it comes from.
    pub(super) task_id: Option<TaskId>,
    /// The objects of its records; none when the body was no S3 notification.
    pub(super) objects: Vec<Object>,
    /// When it came.
    pub(super) at: Timestamp,
}

/// The death of the first worker.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    /// When the process was gone.
    pub(super) at: Timestamp,
    /// When the next worker was started.
    pub(super) restarted_at: Timestamp,
    /// The tasks whose leases it took with it.
    pub(super) held: Vec<TaskId>,
    /// When all of them had been taken back, if they were.
    pub(super) taken_back_at: Option<Timestamp>,
}

/// What the comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    pub(super) enqueued: u64,
    /// Events that arrived at least once, unchanged.
    pub(super) delivered: u64,
    /// Events that arrived more than once.
    pub(super) twice: u64,
    /// Keys of events that never arrived.
    pub(super) lost: Vec<String>,
    /// What arrived, but not as it was sent; or was never sent.
    pub(super) altered: Vec<String>,
    /// From the first to the last arrival.
    pub(super) took: Duration,
    /// From due to first arrival: half of the events were faster than this.
    pub(super) wait_p50: Duration,
    /// From due to first arrival: 99 of 100 events were faster than this.
    pub(super) wait_p99: Duration,
    /// From the kill to the next arrival from the new worker.
    pub(super) next_after_kill: Option<Duration>,
    /// From the kill until every task that the dead worker held had been taken back.
    pub(super) held_taken_back: Option<Duration>,
    /// From the kill until every such task had arrived from the new worker.
    pub(super) held_delivered: Option<Duration>,
}

impl Object {
    /// What must arrive of an event, by the form of S3's records: those of a removal have no size and no ETag, those
    /// of a bucket no object.
    pub(super) fn of(event: &EventPayload) -> Self {
        let is_object = !event.key.is_empty();
        let has_content = is_object && !event.etag.is_empty() && !event.event_name.contains("ObjectRemoved:");
        Self {
            event_name: event.event_name.trim_start_matches("s3:").to_owned(),
            bucket: event.bucket.clone(),
            key: event.key.clone(),
            etag: has_content.then(|| event.etag.clone()),
            size: has_content.then_some(event.size),
            sequencer: if is_object { event.sequencer.clone() } else { String::new() },
        }
    }
}

impl Verdict {
    /// Compares what arrived with what was sent. `due` is when each event was due, in the order of `events`.
    pub(super) fn of(
        events: &[Event],
        due: &[Timestamp],
        deliveries: &[Delivery],
        kill: Option<&Kill>,
    ) -> Self {
        let sent: HashMap<TaskId, &Event> = events.iter().map(|event| (event.task_id, event)).collect();
        let mut verdict = Self { enqueued: events.len() as u64, ..Self::default() };
        let mut arrivals: HashMap<TaskId, Vec<Timestamp>> = HashMap::with_capacity(events.len());
        for delivery in deliveries {
            match check(&sent, delivery) {
                Ok(id) => arrivals.entry(id).or_default().push(delivery.at),
                Err(what) => verdict.altered.push(what),
            }
        }
        let mut waits = Vec::with_capacity(events.len());
        for (event, due) in events.iter().zip(due) {
            match arrivals.get(&event.task_id) {
                None => verdict.lost.push(event.payload.key.clone()),
                Some(times) => {
                    waits.push(between(*due, first(times)));
                    verdict.twice += u64::from(times.len() > 1);
                }
            }
        }
        verdict.delivered = waits.len() as u64;
        (verdict.wait_p50, verdict.wait_p99) = (percentile(&mut waits, 50), percentile(&mut waits, 99));
        verdict.time(&arrivals, kill);
        verdict
    }

    /// Whether every event arrived as it was sent.
    pub(super) fn holds(&self) -> bool {
        self.lost.is_empty() && self.altered.is_empty()
    }

    /// Events a second, each counted once.
    #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
    pub(super) fn throughput(&self) -> f64 {
        self.delivered as f64 / self.took.as_secs_f64().max(0.001)
    }

    fn time(&mut self, arrivals: &HashMap<TaskId, Vec<Timestamp>>, kill: Option<&Kill>) {
        let all = || arrivals.values().flatten().copied();
        if let (Some(first), Some(last)) = (all().min(), all().max()) {
            self.took = between(first, last);
        }
        let Some(kill) = kill else { return };
        let next = all().filter(|time| *time >= kill.restarted_at).min();
        self.next_after_kill = next.map(|time| between(kill.at, time));
        self.held_taken_back = kill.taken_back_at.map(|time| between(kill.at, time));
        let back =
            |id: &TaskId| arrivals.get(id)?.iter().copied().filter(|time| *time >= kill.restarted_at).min();
        let held: HashSet<TaskId> = kill.held.iter().copied().collect();
        let times: Option<Vec<Timestamp>> = held.iter().map(back).collect();
        self.held_delivered =
            times.and_then(|times| times.into_iter().max()).map(|last| between(kill.at, last));
    }
}

/// The task of a delivery that carries exactly the event that was sent with it.
fn check(sent: &HashMap<TaskId, &Event>, delivery: &Delivery) -> Result<TaskId, String> {
    let id = delivery.task_id.ok_or("a delivery names no task")?;
    let event = sent.get(&id).ok_or_else(|| format!("task {id} was never sent"))?;
    let expected = Object::of(&event.payload);
    match delivery.objects.as_slice() {
        [object] if *object == expected => Ok(id),
        other => Err(format!("task {id} was sent as {expected:?} and arrived as {other:?}")),
    }
}

fn first(times: &[Timestamp]) -> Timestamp {
    times.iter().copied().min().expect("an arrival is entered with its first time")
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

/// The least wait that `percent` of the waits do not exceed; zero when there are none.
fn percentile(waits: &mut [Duration], percent: usize) -> Duration {
    waits.sort_unstable();
    let rank = (waits.len() * percent).div_ceil(100);
    waits.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use taskqueue_core::{Clock, ManualClock};

    struct World {
        clock: ManualClock,
        events: Vec<Event>,
        due: Vec<Timestamp>,
        deliveries: Vec<Delivery>,
    }

    impl World {
        fn of(events: u64) -> Self {
            let clock = ManualClock::default();
            let event = |index| Event {
                task_id: TaskId::generate(),
                payload: EventPayload {
                    event_name: "s3:ObjectCreated:Put".into(),
                    key: format!("key-{index}"),
                    etag: format!("etag-{index}"),
                    ..EventPayload::default()
                },
            };
            let events: Vec<Event> = (0..events).map(event).collect();
            let due = vec![clock.now(); events.len()];
            Self { clock, events, due, deliveries: Vec::new() }
        }

        fn deliver(&mut self, index: usize) -> &mut Delivery {
            self.clock.advance(Duration::from_secs(1));
            let event = &self.events[index];
            let objects = vec![Object::of(&event.payload)];
            self.deliveries.push(Delivery { task_id: Some(event.task_id), objects, at: self.clock.now() });
            self.deliveries.last_mut().expect("it was just pushed")
        }

        fn verdict(&self, kill: Option<&Kill>) -> Verdict {
            Verdict::of(&self.events, &self.due, &self.deliveries, kill)
        }
    }

    #[test]
    fn every_event_delivered_once_and_unchanged_holds() {
        let mut world = World::of(4);
        (0..4).for_each(|index| drop(world.deliver(index).clone()));
        let verdict = world.verdict(None);
        assert!(verdict.holds());
        assert_eq!((verdict.delivered, verdict.twice), (4, 0));
        assert_eq!((verdict.wait_p50, verdict.wait_p99), (Duration::from_secs(2), Duration::from_secs(4)));
        assert_eq!(verdict.took, Duration::from_secs(3));
    }

    #[test]
    fn an_event_that_never_came_is_lost() {
        let mut world = World::of(2);
        world.deliver(1);
        let verdict = world.verdict(None);
        assert!(!verdict.holds());
        assert_eq!(verdict.lost, ["key-0"]);
    }

    #[test]
    fn a_second_delivery_is_counted_and_is_no_harm() {
        let mut world = World::of(1);
        world.deliver(0);
        world.deliver(0);
        let verdict = world.verdict(None);
        assert!(verdict.holds());
        assert_eq!((verdict.delivered, verdict.twice), (1, 1));
    }

    #[test]
    fn a_change_of_any_field_is_found_and_leaves_the_event_lost() {
        let changes: [fn(&mut Object); 6] = [
            |object| object.event_name.push('x'),
            |object| object.bucket.push('x'),
            |object| object.key.push('x'),
            |object| object.etag = None,
            |object| object.size = Some(1),
            |object| object.sequencer.push('x'),
        ];
        for change in changes {
            let mut world = World::of(1);
            change(&mut world.deliver(0).objects[0]);
            let verdict = world.verdict(None);
            assert_eq!((verdict.altered.len(), verdict.lost.len()), (1, 1));
        }
    }

    #[test]
    fn a_removal_has_no_content_and_a_buckets_event_no_object() {
        let created = World::of(1).events.remove(0).payload;
        assert_eq!(Object::of(&created).size, Some(0));
        let removed = EventPayload { event_name: "s3:ObjectRemoved:Delete".into(), ..created.clone() };
        assert_eq!((Object::of(&removed).size, Object::of(&removed).etag), (None, None));
        let of_bucket = EventPayload { key: String::new(), sequencer: "01".into(), ..created };
        assert_eq!((Object::of(&of_bucket).size, Object::of(&of_bucket).sequencer.as_str()), (None, ""));
    }

    #[test]
    fn what_was_never_sent_or_names_no_task_is_found() {
        let mut world = World::of(1);
        world.deliver(0);
        world.deliver(0).task_id = None;
        world.deliver(0).task_id = Some(TaskId::generate());
        assert_eq!(world.verdict(None).altered.len(), 2);
    }

    #[test]
    fn recovery_counts_what_the_new_worker_delivered_only() {
        let mut world = World::of(3);
        world.deliver(0);
        let killed_at = world.clock.now();
        world.deliver(1);
        world.clock.advance(Duration::from_millis(1));
        let held = vec![world.events[1].task_id, world.events[2].task_id];
        let kill = Kill { at: killed_at, restarted_at: world.clock.now(), held, taken_back_at: None };
        assert_eq!(world.verdict(Some(&kill)).held_delivered, None);
        world.deliver(2);
        world.deliver(1);
        let verdict = world.verdict(Some(&kill));
        assert_eq!(verdict.next_after_kill, Some(Duration::from_millis(2001)));
        assert_eq!(verdict.held_delivered, Some(Duration::from_millis(3001)));
    }
}
