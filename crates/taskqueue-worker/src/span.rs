//! The span in which a task is handled: it names the task and the attempt, and with the feature `opentelemetry` continues
//! the trace that the task was enqueued in. It knows nothing of how a handler is run.

use taskqueue_core::{Lease, Outcome, trace};
use tracing::{Span, info_span};

use crate::leases::Held;

/// The span of this attempt.
pub(crate) fn of_task(held: &Held) -> Span {
    let span = named(held.lease());
    trace::continue_in(&span, &held.claim.task);
    span
}

/// The attempt has ended so.
pub(crate) fn end(span: &Span, outcome: &Outcome) {
    if let Outcome::Fail { error, .. } = outcome {
        trace::failed(span, error);
    }
}

#[cfg(not(feature = "opentelemetry"))]
fn named(lease: &Lease) -> Span {
    info_span!("task", id = %lease.task_id, r#type = %lease.task_type, attempt = lease.attempt)
}

/// The name and the kind of OpenTelemetry's conventions for what processes a message.
#[cfg(feature = "opentelemetry")]
fn named(lease: &Lease) -> Span {
    info_span!(
        "task",
        otel.name = format!("process {}", lease.task_type),
        otel.kind = "consumer",
        id = %lease.task_id,
        r#type = %lease.task_type,
        attempt = lease.attempt
    )
}
