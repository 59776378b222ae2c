//! `enqueue`: puts tasks into the queue, one from an argument, a file or standard input, or many from JSON lines.

mod repeats;

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use taskqueue_core::{Enqueued, Error, NewTask, Priority, Queue, RawPayload, TaskId, TaskType, Timestamp};

use self::repeats::GivenUp;
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::input::{Defaults, Line, LineForm, Lines};
use crate::output::{self, count};
use crate::progress::{Progress, Unit};
use crate::target::Target;
use crate::values;

/// One transaction each: long enough to share a commit, short enough to let workers in between.
const BATCH: usize = 1000;
/// A batch ends with the payload that brings it here: what one call may carry is more, but has to be in memory.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

const EXAMPLES: &str = concat!(
    r#"Examples:
  taskqueue enqueue --type mail '{"to":"ada@example.org"}'
  taskqueue enqueue --type mail --priority high --delay 10m --unique-key ada '{"to":"ada"}'
  taskqueue enqueue --type report --file payload.json
  produce-payload | taskqueue enqueue --type report -
  taskqueue enqueue --json-lines --file tasks.jsonl
  taskqueue enqueue --json-lines --type event --file events.jsonl

"#,
    "With --json-lines and --type each line is a payload. Without --type each line is a task object: ",
    r#"{"type": "mail", "payload": …}, and if you like id, priority, scheduled_at, delay ("10m"), max_retries, "#,
    "unique_key, region, metadata. What `list --json-lines` prints is of this form.\n\n",
    "A file is checked to its end before anything is enqueued. Standard input is enqueued as it comes; a bad line ",
    "stops it and says what was enqueued before. A line whose id or unique key is taken is passed over and counted.",
    "\n\nWhere the database does not answer, it is asked again, with the same ids: for 10 seconds, and once at least where ",
    "it has taken longer to fail. Nothing comes in twice. Where it still does not answer, tasks may be in: the error ",
    "names the lines, or the --id with which to repeat.",
    "\n\nA SQLite file that does not exist yet is created; a server's tables are made by `taskqueue migrate`."
);

/// Puts tasks into the queue: prints the id of one, or how many.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The payload: any JSON value, or - to read it from standard input
    #[arg(required_unless_present_any = ["file", "json_lines"], conflicts_with = "file")]
    payload: Option<String>,
    /// Read the payload, or the JSON lines, from this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Enqueue many: one task a line, from --file or standard input
    #[arg(long, conflicts_with_all = ["id", "unique_key"])]
    json_lines: bool,
    /// The task type; with --json-lines it says that each line is a payload
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "json_lines")]
    task_type: Option<TaskType>,
    /// How urgent: low (0), normal (5), high (10), urgent (20) or any number
    #[arg(long, value_parser = values::priority, allow_negative_numbers = true)]
    priority: Option<Priority>,
    /// Run it not before this time, as 2026-12-31T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = values::time, conflicts_with = "delay")]
    at: Option<Timestamp>,
    /// Run it not before this long from now, as 30s or 2h
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    delay: Option<Duration>,
    /// How many attempts it may have in total [default: 3]
    #[arg(long, value_name = "ATTEMPTS")]
    max_retries: Option<u32>,
    /// Let no other unfinished task of this type have the same key
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// The region that it belongs to
    #[arg(long)]
    region: Option<String>,
    /// Its id, a UUID: enqueueing the same id again changes nothing
    #[arg(long)]
    id: Option<TaskId>,
    /// With --json-lines: begin at this line, counted from 1
    #[arg(long, value_name = "LINE", requires = "json_lines", default_value_t = 1)]
    from_line: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What became of many.
#[derive(Debug, Default, Serialize)]
struct Tally {
    enqueued: u64,
    repeated: u64,
    duplicates: u64,
    #[serde(skip)]
    last_line: u64,
}

/// Enqueues what was given.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    if args.json_lines { many(target, &args).await } else { one(target, &args).await }
}

async fn one(target: &Target, args: &Args) -> Outcome {
    let task = args.task()?;
    let id = task.id;
    let queue = connect::existing_or_new(target).await?;
    let answers = repeats::enqueue(&queue, vec![task]).await;
    queue.close().await;
    let answer = answers.map_err(|given_up| given_up.of_one(id))?.pop();
    match answer {
        Some(Enqueued::Duplicate(existing)) => Err(Error::duplicate_unique("enqueue", existing).into()),
        Some(answer) if args.json => {
            let repeated = matches!(answer, Enqueued::Repeated(_));
            output::json(&serde_json::json!({ "id": answer.id(), "repeated": repeated }))
        }
        Some(answer) => output::line(answer.id().to_string()),
        None => Err(Failure::failed("enqueue: the backend gave no answer")),
    }
}

impl Args {
    fn defaults(&self) -> Defaults {
        Defaults {
            priority: self.priority,
            scheduled_at: self.at,
            delay: self.delay,
            max_retries: self.max_retries,
            region: self.region.clone(),
        }
    }

    fn task(&self) -> Outcome<NewTask> {
        let task_type = self.task_type.clone().ok_or_else(|| Failure::usage("name the task's --type"))?;
        let payload = RawPayload::parse(self.payload_text()?.trim())?;
        let mut task = self.defaults().apply(NewTask::of_parts(task_type, payload));
        if let Some(id) = self.id {
            task = task.id(id);
        }
        if let Some(key) = &self.unique_key {
            task = task.unique_key(key);
        }
        Ok(task)
    }

    fn payload_text(&self) -> Outcome<String> {
        match (&self.file, &self.payload) {
            (Some(path), _) => std::fs::read_to_string(path)
                .map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error)),
            (None, Some(text)) if text != "-" => Ok(text.clone()),
            _ => {
                let mut text = String::new();
                let read = std::io::stdin().lock().read_to_string(&mut text);
                read.map(|_| text).map_err(|error| Failure::io("cannot read standard input", &error))
            }
        }
    }

    fn lines<R: Read>(&self, reader: R) -> Lines<R> {
        let form = self.task_type.clone().map_or(LineForm::TaskObjects, LineForm::Payloads);
        Lines::new(reader, form, self.defaults(), self.from_line)
    }
}

async fn many(target: &Target, args: &Args) -> Outcome {
    if args.payload.as_deref().is_some_and(|payload| payload != "-") {
        return Err(Failure::usage("--json-lines reads standard input or --file FILE; it takes no payload"));
    }
    let tally = match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => from_file(target, args, path).await?,
        None => from_standard_input(target, args).await?,
    };
    if args.json { output::json(&tally) } else { output::line(tally.text()) }
}

async fn from_standard_input(target: &Target, args: &Args) -> Outcome<Tally> {
    let queue = connect::existing_or_new(target).await?;
    let mut feed = Feed {
        lines: args.lines(std::io::stdin()),
        progress: Progress::quiet("enqueueing", Unit::Things("bytes"), 0),
        waits: true,
        tally: Tally::default(),
    };
    let outcome = feed.enqueue_all(&queue).await;
    queue.close().await;
    outcome.map(|()| feed.tally)
}

async fn from_file(target: &Target, args: &Args, path: &Path) -> Outcome<Tally> {
    let name = path.display();
    let (file, bytes) = open(path)?;
    if bytes.is_some() {
        check(args.lines(open(path)?.0))
            .map_err(|failure| failure.context(&name).note("nothing was enqueued"))?;
    }
    let queue = connect::existing_or_new(target).await?;
    let mut feed = Feed {
        lines: args.lines(file),
        progress: Progress::quiet("enqueueing", Unit::Bytes, bytes.unwrap_or_default()),
        waits: bytes.is_none(),
        tally: Tally::default(),
    };
    let outcome = feed.enqueue_all(&queue).await;
    queue.close().await;
    outcome.map(|()| feed.tally).map_err(|failure| failure.context(name))
}

/// The file, and its size when it is a plain file, which can be read twice.
fn open(path: &Path) -> Outcome<(File, Option<u64>)> {
    let failed = |error| Failure::io(format!("cannot read {}", path.display()), &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!("{} is a folder, not a file", path.display())));
    }
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

fn check(mut lines: Lines<File>) -> Outcome {
    while lines.next_task()?.is_some() {}
    Ok(())
}

/// Lines on their way into a queue.
struct Feed<R> {
    lines: Lines<R>,
    progress: Progress,
    /// Whether somebody writes the input while it is read: then what has come is not kept waiting for a full batch.
    waits: bool,
    tally: Tally,
}

impl<R: Read> Feed<R> {
    /// Enqueues all lines. An error says how far it came, since batches commit one by one.
    async fn enqueue_all(&mut self, queue: &impl Queue) -> Outcome {
        loop {
            let (batch, end) = self.next_batch();
            if let (Some(first), Some(last)) = (batch.first(), batch.last()) {
                let (lines, bytes) = (first.number..=last.number, last.bytes);
                let tasks = batch.into_iter().map(|line| line.task).collect();
                let answers = repeats::enqueue(queue, tasks).await;
                self.tally
                    .add(answers.map_err(|given_up| self.tally.explain_batch(given_up, &lines))?, &lines);
                self.progress.set(bytes, "")?;
            }
            match end {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(failure)) => return Err(self.tally.explain(failure)),
            }
        }
    }

    /// The next lines, and how the input ended if it did. What comes before a bad line is good and is enqueued,
    /// so that there is one simple thing to say: up to which line.
    fn next_batch(&mut self) -> (Vec<Line>, Option<Outcome>) {
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), 0);
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            match self.lines.next_task() {
                Ok(Some(line)) => {
                    bytes += line.task.payload.as_str().len();
                    batch.push(line);
                }
                Ok(None) => return (batch, Some(Ok(()))),
                Err(failure) => return (batch, Some(Err(failure))),
            }
            if self.waits && !self.lines.next_is_here() {
                break;
            }
        }
        (batch, None)
    }
}

impl GivenUp {
    /// Of a single task.
    fn of_one(self, id: TaskId) -> Failure {
        if !self.may_be_in {
            return self.failure;
        }
        self.failure.partly().note(format!("the task may be enqueued: repeat with --id {id}"))
    }
}

impl Tally {
    fn add(&mut self, answers: Vec<Enqueued>, lines: &RangeInclusive<u64>) {
        for answer in answers {
            match answer {
                Enqueued::Created(_) => self.enqueued += 1,
                Enqueued::Repeated(_) => self.repeated += 1,
                Enqueued::Duplicate(_) => self.duplicates += 1,
            }
        }
        self.last_line = *lines.end();
    }

    fn explain(&self, failure: Failure) -> Failure {
        match self.last_line {
            0 => failure.note("nothing was enqueued"),
            line => failure.partly().note(format!(
                "{} up to line {line}; go on with --from-line {}",
                count(self.enqueued, "task was enqueued", "tasks were enqueued"),
                line + 1
            )),
        }
    }

    /// As [`explain`](Self::explain), of a batch of these lines. Those that may be in are not to be repeated unseen.
    fn explain_batch(&self, given_up: GivenUp, lines: &RangeInclusive<u64>) -> Failure {
        let GivenUp { failure, may_be_in } = given_up;
        if !may_be_in {
            return self.explain(failure);
        }
        let (first, last) = (lines.start(), lines.end());
        let failure = match self.enqueued {
            0 => failure,
            enqueued => {
                failure.note(count(enqueued, "task was enqueued before", "tasks were enqueued before"))
            }
        };
        failure.partly().note(format!(
            "lines {first} to {last} may be enqueued, all or none; --from-line {first} repeats them (safe where lines \
             have an id), --from-line {} passes over them",
            last + 1
        ))
    }

    fn text(&self) -> String {
        let mut text = format!("enqueued {}", count(self.enqueued, "task", "tasks"));
        if self.repeated > 0 {
            text.push_str(&format!(
                ", passed over {} whose id was there before",
                output::thousands(self.repeated)
            ));
        }
        if self.duplicates > 0 {
            text.push_str(&format!(
                ", passed over {} whose unique key is taken",
                output::thousands(self.duplicates)
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    fn given_up(may_be_in: bool) -> GivenUp {
        GivenUp { failure: Failure::new(Code::Temporary, "no answer"), may_be_in }
    }

    #[test]
    fn a_batch_without_an_answer_is_told_by_its_lines() {
        let said = |tally: &Tally, may_be_in| {
            let failure = tally.explain_batch(given_up(may_be_in), &(4..=6));
            failure.message().unwrap_or_default().to_owned()
        };
        let (none, some) = (Tally::default(), Tally { enqueued: 3, last_line: 3, ..Tally::default() });
        let unsure = "lines 4 to 6 may be enqueued, all or none; --from-line 4 repeats them (safe where lines have an \
                      id), --from-line 7 passes over them";
        assert_eq!(said(&none, true), format!("no answer; {unsure}"));
        assert_eq!(said(&some, true), format!("no answer; 3 tasks were enqueued before; {unsure}"));
        assert_eq!(said(&none, false), "no answer; nothing was enqueued");
    }

    #[test]
    fn a_task_without_an_answer_is_told_by_its_id() {
        let id = TaskId::generate();
        let failure = given_up(true).of_one(id);
        let said = format!("no answer; the task may be enqueued: repeat with --id {id}");
        assert_eq!((failure.code(), failure.message()), (Code::Temporary, Some(said.as_str())));
        assert_eq!(given_up(false).of_one(id).message(), Some("no answer"));
    }
}
