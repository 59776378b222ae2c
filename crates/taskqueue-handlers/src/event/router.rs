//! The handler that tells an event to whoever the bucket's notification configuration names. It owns which delivery is
//! made by which task; how one is made is the sinks' business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use taskqueue_core::payloads::{EventPayload, types};
use taskqueue_core::{NewTask, Outcome, TaskId};
use taskqueue_worker::{Handler, Metrics, TaskContext, TaskError};

use super::{EventNotification, EventSink, Match, NotificationConfigStore, RecordConfig, record};
use crate::{HandlerError, HandlerMetrics, derived};

/// The metadata of a task that is one delivery: where to, and by which rule.
const DESTINATION: &str = "taskqueue-event-destination";
const CONFIGURATION: &str = "taskqueue-event-configuration";

/// The sinks of a worker by the names that notification configurations use.
#[derive(Clone, Default)]
pub struct Destinations(BTreeMap<String, Arc<dyn EventSink>>);

impl Destinations {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. `name` is a whole ARN, or the last part of one: `pictures` for `arn:aws:sns:eu-north-1:1:pictures`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, sink: impl EventSink) -> Self {
        self.0.insert(name.into(), Arc::new(sink));
        self
    }

    /// The sink of a destination as a rule names it: by all of it, or else by what follows the last colon.
    fn find(&self, destination: &str) -> Option<&Arc<dyn EventSink>> {
        let name = destination.rsplit(':').next().unwrap_or_default();
        self.0.get(destination).or_else(|| self.0.get(name))
    }
}

impl fmt::Debug for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Delivers tasks of type `event` to every destination that the bucket's notification configuration names.
///
/// - No configuration, or no rule that matches: the task completes, there is nobody to tell.
/// - One delivery: this task makes it.
/// - Several: the task completes with one follow-up task of the same type for each, enqueued in the same transaction,
///   whose metadata says where it goes. Their ids derive from this task's, the destination and the rule. So every
///   destination has its own attempts, and a retry never goes to one that has confirmed.
///
/// A destination that this worker has not got is worth another attempt: one that was started later may have it.
#[derive(Debug, Clone)]
pub struct EventRouter<C> {
    configurations: C,
    destinations: Destinations,
    config: RecordConfig,
    metrics: HandlerMetrics,
}

impl<C: NotificationConfigStore> EventRouter<C> {
    /// A handler that asks `configurations` whom to tell, and tells them through `destinations`.
    pub fn new(configurations: C, destinations: Destinations) -> Self {
        let metrics = HandlerMetrics::new(&Metrics::default(), types::EVENT);
        Self { configurations, destinations, config: RecordConfig::default(), metrics }
    }

    /// Sets what records say that is in neither the payload nor the notification configuration.
    #[must_use]
    pub fn record(mut self, config: RecordConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the names under which is counted: outcomes `delivered`, `fanned_out`, `nobody`.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = HandlerMetrics::new(metrics, types::EVENT);
        self
    }

    async fn matches(&self, event: &EventPayload) -> Result<Vec<Match>, HandlerError> {
        let configuration = self.configurations.get(&event.bucket).await?;
        Ok(configuration.map(|configuration| configuration.matches(event)).unwrap_or_default())
    }

    async fn deliver(&self, cx: &TaskContext, event: &EventPayload, to: &Match) -> Result<(), HandlerError> {
        let sink = self.destinations.find(&to.destination).ok_or_else(|| {
            HandlerError::transient(format!("this worker has no destination {:?}", to.destination))
        })?;
        let mut config = self.config.clone();
        if let Some(id) = &to.configuration_id {
            config = config.configuration_id(id);
        }
        let json = record::notification(event, cx.task().region.as_deref(), &config)?;
        let subject = format!("{}/{}", event.bucket, event.key);
        sink.deliver(&EventNotification::new(cx.id(), json).subject(subject)).await
    }
}

#[async_trait]
impl<C: NotificationConfigStore> Handler for EventRouter<C> {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let event: EventPayload = cx.decode()?;
        let matches = match assigned(&cx) {
            Some(to) => vec![to],
            None => self.matches(&event).await?,
        };
        match matches.as_slice() {
            [] => self.metrics.outcome("nobody"),
            [to] => {
                self.deliver(&cx, &event, to).await?;
                self.metrics.outcome("delivered");
            }
            several => {
                self.metrics.outcome("fanned_out");
                let tasks = several.iter().map(|to| delivery_task(&cx, to));
                return Ok(tasks.fold(Outcome::done(), Outcome::then));
            }
        }
        Ok(Outcome::done())
    }
}

/// The delivery that this task is, if it is one.
fn assigned(cx: &TaskContext) -> Option<Match> {
    let destination = cx.metadata().get(DESTINATION)?.clone();
    Some(Match { destination, configuration_id: cx.metadata().get(CONFIGURATION).cloned() })
}

/// The task of one delivery: as urgent, as patient and of the same region and trace as the event's.
fn delivery_task(cx: &TaskContext, to: &Match) -> NewTask {
    let parent = cx.task();
    let mut task = NewTask::of_parts(parent.task_type.clone(), parent.payload.clone())
        .id(delivery_id(parent.id, to))
        .priority(parent.priority)
        .max_retries(parent.max_retries);
    task.region.clone_from(&parent.region);
    task.metadata.clone_from(&parent.metadata);
    task = task.metadata(DESTINATION, &to.destination);
    match &to.configuration_id {
        Some(id) => task.metadata(CONFIGURATION, id),
        None => task,
    }
}

fn delivery_id(parent: TaskId, to: &Match) -> TaskId {
    derived::from_task(parent, &[&to.destination, to.configuration_id.as_deref().unwrap_or_default()])
}
