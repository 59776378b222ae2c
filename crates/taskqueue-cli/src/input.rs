//! Task input: JSON lines and payload texts become tasks. It owns the form of a task object and the numbering of
//! lines; it knows no queue and no command.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use taskqueue_core::{
    Metadata, NewTask, PAYLOAD_BYTES_MAX_DEFAULT, Priority, RawPayload, TaskId, TaskType, Timestamp,
};

use crate::failure::{Failure, Outcome};
use crate::values;

const READ_BYTES: usize = 1024 * 1024;
/// The longest line that is read: the largest payload with as much again for escapes and the other fields.
const LINE_BYTES_MAX: u64 = 2 * PAYLOAD_BYTES_MAX_DEFAULT as u64;

/// What is set on every task that does not say otherwise itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    pub(crate) priority: Option<Priority>,
    pub(crate) scheduled_at: Option<Timestamp>,
    pub(crate) delay: Option<Duration>,
    pub(crate) max_retries: Option<u32>,
    pub(crate) region: Option<String>,
    pub(crate) metadata: Metadata,
}

/// How a line is read.
#[derive(Debug, Clone)]
pub(crate) enum LineForm {
    /// Each line is a task object with a `type` and a `payload`.
    TaskObjects,
    /// Each line is a payload of this type.
    Payloads(TaskType),
}

/// A task object. The names of a stored task that mean nothing for a new one are accepted, so that what `list`
/// and `get` print can be enqueued elsewhere; any other name is a mistake worth stopping for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskObject {
    #[serde(rename = "type")]
    task_type: TaskType,
    payload: RawPayload,
    id: Option<TaskId>,
    #[serde(default, deserialize_with = "priority")]
    priority: Option<Priority>,
    scheduled_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "delay")]
    delay: Option<Duration>,
    max_retries: Option<u32>,
    unique_key: Option<String>,
    region: Option<String>,
    metadata: Option<Metadata>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
    #[serde(rename = "started_at")]
    _started_at: Option<IgnoredAny>,
    #[serde(rename = "completed_at")]
    _completed_at: Option<IgnoredAny>,
    #[serde(rename = "attempts")]
    _attempts: Option<IgnoredAny>,
    #[serde(rename = "retry_after")]
    _retry_after: Option<IgnoredAny>,
    #[serde(rename = "last_error")]
    _last_error: Option<IgnoredAny>,
    #[serde(rename = "created_at")]
    _created_at: Option<IgnoredAny>,
    #[serde(rename = "updated_at")]
    _updated_at: Option<IgnoredAny>,
    #[serde(rename = "worker_id")]
    _worker_id: Option<IgnoredAny>,
    #[serde(rename = "reclaims")]
    _reclaims: Option<IgnoredAny>,
}

/// In the form of the option, a name among them, or as the number that a stored task has.
fn priority<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Priority>, D::Error> {
    let wrong = |given: Value| {
        serde::de::Error::custom(format!(
            "priority {given} is not low, normal, high, urgent or a 32-bit number"
        ))
    };
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => values::priority(&text).map(Some).map_err(|_| wrong(Value::String(text))),
        given => Priority::deserialize(&given).map(Some).map_err(|_| wrong(given)),
    }
}

fn delay<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let delay = values::duration(&text);
    delay.map(Some).map_err(|error| serde::de::Error::custom(format!("delay {text:?}: {error}")))
}

impl LineForm {
    /// Makes a task of one line, checked against every limit.
    fn task(&self, line: &str, defaults: &Defaults) -> Outcome<NewTask> {
        let task = match self {
            Self::Payloads(task_type) => {
                defaults.apply(NewTask::of_parts(task_type.clone(), RawPayload::parse(line)?))
            }
            Self::TaskObjects => serde_json::from_str::<TaskObject>(line)
                .map_err(|error| Failure::usage(format!("not a task object: {}", without_line(&error))))?
                .into_task(defaults),
        };
        task.validate(PAYLOAD_BYTES_MAX_DEFAULT)?;
        Ok(task)
    }
}

/// A JSON error without its line number: it is always 1 here and would be taken for the file's.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

impl TaskObject {
    fn into_task(self, defaults: &Defaults) -> NewTask {
        let mut task = defaults.apply(NewTask::of_parts(self.task_type, self.payload));
        if let Some(id) = self.id {
            task = task.id(id);
        }
        if let Some(priority) = self.priority {
            task = task.priority(priority);
        }
        if let Some(time) = self.scheduled_at {
            task = task.scheduled_at(time);
        }
        if let Some(delay) = self.delay {
            task = task.delay(delay);
        }
        if let Some(attempts) = self.max_retries {
            task = task.max_retries(attempts);
        }
        if let Some(key) = self.unique_key {
            task = task.unique_key(key);
        }
        if let Some(region) = self.region {
            task = task.region(region);
        }
        self.metadata.into_iter().flatten().fold(task, |task, (key, value)| task.metadata(key, value))
    }
}

impl Defaults {
    /// Sets what is given here on a task.
    pub(crate) fn apply(&self, mut task: NewTask) -> NewTask {
        if let Some(priority) = self.priority {
            task = task.priority(priority);
        }
        if let Some(time) = self.scheduled_at {
            task = task.scheduled_at(time);
        }
        if let Some(delay) = self.delay {
            task = task.delay(delay);
        }
        if let Some(attempts) = self.max_retries {
            task = task.max_retries(attempts);
        }
        if let Some(region) = &self.region {
            task = task.region(region.clone());
        }
        self.metadata.iter().fold(task, |task, (key, value)| task.metadata(key, value))
    }
}

/// A task and where it came from.
#[derive(Debug)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: u64,
    /// The bytes read so far, this line included.
    pub(crate) bytes: u64,
    /// What it asks for.
    pub(crate) task: NewTask,
}

/// Reads tasks line by line; empty lines are passed over, and every error names its line.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    form: LineForm,
    defaults: Defaults,
    from_line: u64,
    number: u64,
    bytes: u64,
}

impl<R: Read> Lines<R> {
    /// Reads `reader` from its line `from_line` on, counted from 1.
    pub(crate) fn new(reader: R, form: LineForm, defaults: Defaults, from_line: u64) -> Self {
        let reader = BufReader::with_capacity(READ_BYTES, reader);
        Self { reader, form, defaults, from_line, number: 0, bytes: 0 }
    }

    /// Whether the next line can be had without waiting for whoever writes the input.
    pub(crate) fn next_is_here(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// The next task, or none at the end.
    pub(crate) fn next_task(&mut self) -> Outcome<Option<Line>> {
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            if !self.read_line(&mut buffer)? {
                return Ok(None);
            }
            if self.number < self.from_line {
                continue;
            }
            let text = std::str::from_utf8(&buffer).map_err(|_| self.wrong("not UTF-8"))?.trim();
            if !text.is_empty() {
                let task = self.form.task(text, &self.defaults).map_err(|failure| self.here(failure))?;
                return Ok(Some(Line { number: self.number, bytes: self.bytes, task }));
            }
        }
    }

    fn read_line(&mut self, buffer: &mut Vec<u8>) -> Outcome<bool> {
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', buffer);
        self.number += 1;
        let read = read.map_err(|error| self.here(Failure::io("cannot read", &error)))? as u64;
        self.bytes += read;
        if read == LINE_BYTES_MAX && buffer.last() != Some(&b'\n') {
            return Err(self.wrong(&format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        Ok(read > 0)
    }

    fn wrong(&self, what: &str) -> Failure {
        self.here(Failure::usage(what))
    }

    fn here(&self, failure: Failure) -> Failure {
        failure.context(format!("line {}", self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taskqueue_core::Schedule;

    fn read(text: &str, form: LineForm) -> Outcome<Vec<Line>> {
        let mut lines = Lines::new(text.as_bytes(), form, Defaults::default(), 1);
        let mut tasks = Vec::new();
        while let Some(line) = lines.next_task()? {
            tasks.push(line);
        }
        Ok(tasks)
    }

    fn refusal(text: &str, form: LineForm) -> String {
        let failure = read(text, form).expect_err("the input is bad");
        failure.message().expect("it says why").to_owned()
    }

    fn payloads() -> LineForm {
        LineForm::Payloads(TaskType::new("mail").expect("a valid type"))
    }

    #[test]
    fn a_bare_payload_is_kept_byte_for_byte() {
        let lines = read("{\"to\":  1}\r\n\n[2]", payloads()).expect("valid lines");
        assert_eq!(lines[0].task.payload.as_str(), "{\"to\":  1}");
        assert_eq!((lines[1].number, lines[1].task.payload.as_str()), (3, "[2]"));
    }

    #[test]
    fn a_task_object_sets_every_field() {
        let text = r#"{"type":"mail","payload":{"to":1},"priority":20,"delay":"2m","max_retries":7,"unique_key":"k","region":"eu","metadata":{"a":"b"}}"#;
        let task = read(text, LineForm::TaskObjects).expect("a valid line").remove(0).task;
        assert_eq!(task.priority, Priority::URGENT);
        assert_eq!(task.schedule, Schedule::After(Duration::from_secs(120)));
        assert_eq!(
            (task.max_retries, task.unique_key.as_deref(), task.region.as_deref()),
            (7, Some("k"), Some("eu"))
        );
        assert_eq!(task.metadata["a"], "b");
    }

    #[test]
    fn a_task_object_takes_what_the_options_take_and_null_for_nothing() {
        let read = |fields: &str| {
            let text = format!("{{\"type\":\"mail\",\"payload\":1,{fields}}}");
            read(&text, LineForm::TaskObjects).map(|mut lines| lines.remove(0).task)
        };
        let priority = |given: &str| read(&format!("\"priority\":{given}")).expect("it is one").priority;
        assert_eq!(["\"high\"", "20", "\"-3\"", "null"].map(priority).map(|it| it.0), [10, 20, -3, 5]);
        let none = read(r#""delay":null,"metadata":null,"region":null,"max_retries":null"#).expect("nothing");
        assert_eq!((none.schedule, none.metadata.len()), (Schedule::Now, 0));
        for (fields, named) in [
            ("\"priority\":\"soon\"", "priority \"soon\" is not low, normal,"),
            ("\"priority\":3000000000", "priority 3000000000 is not"),
            ("\"delay\":\"soon\"", "delay \"soon\": "),
            ("\"delay\":\"1000000y\"", "longer than the limit of 1,000 years"),
        ] {
            let failure = read(fields).expect_err("it is wrong");
            assert!(failure.message().is_some_and(|text| text.contains(named)), "{failure:?}");
        }
    }

    #[test]
    fn a_stored_task_can_be_enqueued_elsewhere() {
        let text = r#"{"id":"0198c5d0-0000-7000-8000-000000000001","type":"mail","status":"dead_letter","priority":5,"payload":1,"scheduled_at":"2026-01-01T00:00:00Z","attempts":3,"max_retries":3,"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","reclaims":0}"#;
        let task = read(text, LineForm::TaskObjects).expect("a valid line").remove(0).task;
        assert_eq!(task.id.to_string(), "0198c5d0-0000-7000-8000-000000000001");
    }

    #[test]
    fn a_misspelt_field_is_refused_with_its_line() {
        let text = "{\"type\":\"mail\",\"payload\":1}\n{\"type\":\"mail\",\"payload\":1,\"priorty\":9}\n";
        let message = refusal(text, LineForm::TaskObjects);
        assert!(message.starts_with("line 2: not a task object: unknown field `priorty`"), "{message}");
        assert!(!message.contains("at line 1"), "{message}");
    }

    #[test]
    fn every_bad_line_names_its_number() {
        assert!(refusal("1\n2\n{oops\n", payloads()).starts_with("line 3: "));
        assert!(
            refusal("1\n\n{\"type\":\"No Good\",\"payload\":1}", LineForm::TaskObjects)
                .starts_with("line 1: ")
        );
        let zero = "{\"type\":\"mail\",\"payload\":1,\"max_retries\":0}";
        assert!(refusal(zero, LineForm::TaskObjects).starts_with("line 1: "));
    }

    #[test]
    fn an_endless_line_is_refused_before_it_fills_the_memory() {
        let mut lines = Lines::new(std::io::repeat(b'x'), payloads(), Defaults::default(), 1);
        let failure = lines.next_task().expect_err("the line is too long");
        assert!(failure.message().is_some_and(|message| message.starts_with("line 1: longer than")));
    }

    #[test]
    fn lines_before_the_first_wanted_one_are_not_looked_at() {
        let mut lines = Lines::new("{oops\n2\n".as_bytes(), payloads(), Defaults::default(), 2);
        let line = lines.next_task().expect("line 2 is valid").expect("there is a line 2");
        assert_eq!((line.number, line.bytes), (2, 8));
    }
}
