//! The bridge to OpenTelemetry: from the current span to a trace context, and from a trace context to a span's parent. It
//! knows the format of `traceparent`, so that no propagator has to be installed, and no exporter.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::TraceContext;
use crate::Task;

/// The version of `traceparent` that is written.
const VERSION: &str = "00";

/// That of the current span of `tracing`, or else of OpenTelemetry's own.
pub(super) fn current() -> Option<TraceContext> {
    let of_tracing = span_context(&Span::current().context());
    of_tracing.or_else(|| span_context(&Context::current())).map(|context| written(&context))
}

pub(super) fn continue_in(span: &Span, task: &Task) {
    if span.is_disabled() {
        return;
    }
    if let Some(context) = TraceContext::of(&task.metadata).as_ref().and_then(read) {
        // Without OpenTelemetry's layer there is nothing to be continued.
        let _ = span.set_parent(Context::new().with_remote_span_context(context.clone()));
        span.add_link(context);
    }
    span.set_attribute("messaging.system", "taskqueue");
    span.set_attribute("messaging.operation.name", "process");
    span.set_attribute("messaging.operation.type", "process");
    span.set_attribute("messaging.destination.name", task.task_type.to_string());
    span.set_attribute("messaging.message.id", task.id.to_string());
}

pub(super) fn failed(span: &Span, error: &str) {
    span.set_status(Status::error(error.to_owned()));
}

fn span_context(context: &Context) -> Option<SpanContext> {
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

fn written(context: &SpanContext) -> TraceContext {
    let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    let state = context.trace_state().header();
    TraceContext {
        traceparent: format!("{VERSION}-{trace}-{span}-{flags:02x}"),
        tracestate: (!state.is_empty()).then_some(state),
    }
}

/// None where it is malformed: a task with such a one starts a trace of its own. Versions to come may have more parts.
fn read(context: &TraceContext) -> Option<SpanContext> {
    let parts: Vec<&str> = context.traceparent.split('-').collect();
    let [version, trace, span, flags, more @ ..] = &*parts else { return None };
    let have_widths = [(version, 2), (trace, 32), (span, 16), (flags, 2)].into_iter().all(is_hex);
    if !have_widths || *version == "ff" || (*version == VERSION && !more.is_empty()) {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let state = context.tracestate.as_deref().and_then(|state| state.parse::<TraceState>().ok());
    let context = SpanContext::new(trace, span, flags, true, state.unwrap_or_default());
    context.is_valid().then_some(context)
}

fn is_hex((part, digits): (&&str, usize)) -> bool {
    part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read_text(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
        let tracestate = tracestate.map(str::to_owned);
        read(&TraceContext { traceparent: traceparent.to_owned(), tracestate })
    }

    #[test]
    fn what_is_read_is_written_again_as_it_was() {
        for (flags, tracestate) in [("01", Some("a=1,b=2")), ("00", None)] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            let context = read_text(&text, tracestate).expect("it is well-formed");
            assert!(context.is_remote());
            let written = written(&context);
            assert_eq!((written.traceparent, written.tracestate.as_deref()), (text, tracestate));
        }
    }

    #[test]
    fn of_a_version_to_come_the_parts_that_are_known_are_read() {
        let context = read_text(&format!("cc-{TRACE}-{SPAN}-ff-more"), None).expect("it begins as ours");
        assert_eq!((context.trace_id().to_string(), context.is_sampled()), (TRACE.to_owned(), true));
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        let (no_trace, no_span) = ("0".repeat(32), "0".repeat(16));
        let upper = TRACE.to_uppercase();
        for text in [
            "",
            "00",
            &format!("00-{TRACE}-{SPAN}"),
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}-01-more"),
            &format!("00-{upper}-{SPAN}-01"),
            &format!("00-{no_trace}-{SPAN}-01"),
            &format!("00-{TRACE}-{no_span}-01"),
            &format!("00-{TRACE}-{SPAN}-+1"),
            &format!("00-{TRACE}é-{SPAN}-01"),
        ] {
            assert_eq!(read_text(text, None), None, "{text}");
        }
    }

    #[test]
    fn a_malformed_tracestate_costs_no_more_than_itself() {
        let context =
            read_text(&format!("00-{TRACE}-{SPAN}-01"), Some("no list")).expect("its parent is read");
        assert_eq!(context.trace_state().header(), "");
    }
}
