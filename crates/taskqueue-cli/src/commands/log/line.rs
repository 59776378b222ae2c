//! A line of the log for people: when, how grave, of which task, what. What a line says of its task itself, the span around
//! it does not say once more.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The field by which a line names its task, as the span of a task does.
const ID: &str = "id";

/// Writes such lines.
pub(super) struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        when_and_how_grave(&mut writer, *event.metadata().level())?;
        if event.metadata().fields().field(ID).is_none() {
            spans(context, &mut writer)?;
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn when_and_how_grave(writer: &mut Writer<'_>, level: Level) -> fmt::Result {
    if !writer.has_ansi_escapes() {
        SystemTime.format_time(writer)?;
        return write!(writer, " {level:>5} ");
    }
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    writer.write_str("\x1b[2m")?;
    SystemTime.format_time(writer)?;
    write!(writer, "\x1b[0m \x1b[{colour}m{level:>5}\x1b[0m ")
}

/// The spans around the event with their fields, the outermost first.
fn spans<S, N>(context: &FmtContext<'_, S, N>, writer: &mut Writer<'_>) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
        writer.write_str(span.name())?;
        match span.extensions().get::<FormattedFields<N>>() {
            Some(fields) if !fields.is_empty() => write!(writer, "{{{fields}}}: ")?,
            _ => writer.write_str(": ")?,
        }
    }
    Ok(())
}
