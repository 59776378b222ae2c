//! Trace context: what a task's metadata says of the trace that it belongs to, in the form of W3C Trace Context. It owns
//! the two names, when they are set, and their limits; it makes no spans and knows no exporter.
//!
//! With the feature `opentelemetry` an enqueue gives the current span's context to each task that has none. Without it
//! nothing is given but what somebody has set.

#[cfg(feature = "opentelemetry")]
mod otel;

use tracing::Span;

use crate::new_task::METADATA_BYTES_MAX;
use crate::{Metadata, NewTask, Outcome, Task};

/// The metadata that names the trace and the span in it: `00-<trace id>-<span id>-<flags>`.
pub const TRACEPARENT: &str = "traceparent";
/// The metadata in which tracing systems keep what is their own.
pub const TRACESTATE: &str = "tracestate";
/// The longest `tracestate` that is passed on, in bytes: what W3C Trace Context asks for at least. A task is stored with it.
pub const TRACESTATE_BYTES_MAX: usize = 512;

/// The context of one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Which span of which trace.
    pub traceparent: String,
    /// What tracing systems keep, if they do.
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// The context of the current span; none without the feature `opentelemetry`, and outside a trace.
    pub fn current() -> Option<Self> {
        #[cfg(feature = "opentelemetry")]
        return otel::current();
        #[cfg(not(feature = "opentelemetry"))]
        None
    }

    /// The context that a task was enqueued with.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let traceparent = metadata.get(TRACEPARENT)?.clone();
        Some(Self { traceparent, tracestate: metadata.get(TRACESTATE).cloned() })
    }

    /// Gives the context to a task that has neither of the two names. What would take its metadata beyond the limit, and a
    /// long `tracestate`, is left out: a trace is no reason to refuse a task.
    pub fn give_to(&self, task: &mut NewTask) {
        let metadata = &mut task.metadata;
        if metadata.contains_key(TRACEPARENT) || metadata.contains_key(TRACESTATE) {
            return;
        }
        let used: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        let room = METADATA_BYTES_MAX.saturating_sub(used);
        let parent_bytes = TRACEPARENT.len() + self.traceparent.len();
        if parent_bytes > room {
            return;
        }
        metadata.insert(TRACEPARENT.to_owned(), self.traceparent.clone());
        if let Some(state) = &self.tracestate
            && state.len() <= TRACESTATE_BYTES_MAX
            && parent_bytes + TRACESTATE.len() + state.len() <= room
        {
            metadata.insert(TRACESTATE.to_owned(), state.clone());
        }
    }
}

/// Gives the current context to the tasks of one enqueue that have none. They share it, so that a batch of tasks that are
/// alike stays one.
pub(crate) fn capture(tasks: &mut [NewTask]) {
    if !tasks.is_empty()
        && let Some(context) = TraceContext::current()
    {
        tasks.iter_mut().for_each(|task| context.give_to(task));
    }
}

/// Gives follow-up tasks that have no context the current one, which is that of the handler's span, or else that of the
/// task that they follow.
pub fn follow(task: &Task, outcome: &mut Outcome) {
    if let Outcome::Complete { follow_ups } = outcome
        && !follow_ups.is_empty()
        && let Some(context) = TraceContext::current().or_else(|| TraceContext::of(&task.metadata))
    {
        follow_ups.iter_mut().for_each(|task| context.give_to(task));
    }
}

/// Continues in `span`, in which a task is handled and which was not entered yet, the trace that the task was enqueued in.
/// Does nothing without the feature `opentelemetry`.
///
/// OpenTelemetry's conventions ask of a consumer that its span *links* to the context a message was created in, which
/// also holds where several are received at once; a span that processes a single message, within no other span, may have it
/// as its parent besides. A task's span is such a one and has both: one trace shows the enqueue and every attempt, and who
/// looks for links finds them.
pub fn continue_in(span: &Span, task: &Task) {
    #[cfg(feature = "opentelemetry")]
    otel::continue_in(span, task);
    #[cfg(not(feature = "opentelemetry"))]
    let _ = (span, task);
}

/// Marks a task's span as failed. Does nothing without the feature `opentelemetry`.
pub fn failed(span: &Span, error: &str) {
    #[cfg(feature = "opentelemetry")]
    otel::failed(span, error);
    #[cfg(not(feature = "opentelemetry"))]
    let _ = (span, error);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn context(tracestate: &str) -> TraceContext {
        TraceContext { traceparent: PARENT.to_owned(), tracestate: Some(tracestate.to_owned()) }
    }

    fn task() -> NewTask {
        NewTask::raw("next", "{}").expect("a valid task")
    }

    fn given(mut task: NewTask, context: &TraceContext) -> Metadata {
        context.give_to(&mut task);
        task.metadata
    }

    #[test]
    fn a_task_without_a_context_gets_one_and_one_with_its_own_keeps_it() {
        let metadata = given(task().metadata("header", "1"), &context("a=1"));
        assert_eq!(TraceContext::of(&metadata), Some(context("a=1")));
        assert_eq!(metadata.len(), 3);
        for name in [TRACEPARENT, TRACESTATE] {
            let own = task().metadata(name, "own");
            assert_eq!(given(own.clone(), &context("a=1")), own.metadata);
        }
    }

    #[test]
    fn a_context_takes_no_task_beyond_the_limit_of_its_metadata() {
        let parent_bytes = TRACEPARENT.len() + PARENT.len();
        let with_room = |room: usize| task().metadata("k", "x".repeat(METADATA_BYTES_MAX - 1 - room));
        let names = |room: usize| {
            let metadata = given(with_room(room), &context("a=1"));
            (metadata.contains_key(TRACEPARENT), metadata.contains_key(TRACESTATE))
        };
        let state_bytes = TRACESTATE.len() + "a=1".len();
        assert_eq!(names(parent_bytes + state_bytes), (true, true));
        assert_eq!(names(parent_bytes + state_bytes - 1), (true, false));
        assert_eq!(names(parent_bytes), (true, false));
        assert_eq!(names(parent_bytes - 1), (false, false));
    }

    #[test]
    fn a_tracestate_that_is_longer_than_must_be_passed_on_is_left_out() {
        let state = |bytes: usize| given(task(), &context(&"x".repeat(bytes))).contains_key(TRACESTATE);
        assert_eq!([state(TRACESTATE_BYTES_MAX), state(TRACESTATE_BYTES_MAX + 1)], [true, false]);
    }
}
