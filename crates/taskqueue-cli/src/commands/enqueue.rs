//! `enqueue`: puts tasks into the queue, one from an argument, a file or standard input, or many from JSON lines.

mod feed;
mod repeats;
mod source;
mod tally;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use taskqueue_core::{Enqueued, Error, NewTask, Priority, Queue, RawPayload, TaskId, TaskType, Timestamp};

use self::feed::{Feed, Input};
use self::repeats::GivenUp;
use self::tally::Tally;
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::input::{Defaults, LineForm, Lines};
use crate::output;
use crate::progress::{Progress, Unit};
use crate::target::Target;
use crate::values;

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
    "\n\nInterrupted, it says how many lines are in and how to go on.",
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
    /// Read the payload, or the JSON lines, from this file; - is standard input
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
    /// Metadata that its handler sees. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::entry)]
    metadata: Vec<(String, String)>,
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
            metadata: self.metadata.iter().cloned().collect(),
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
        match (self.path(), &self.payload) {
            (Some(path), _) => source::text_of_file(path),
            (None, Some(text)) if text != "-" => Ok(text.clone()),
            _ => source::text_of_stdin(),
        }
    }

    /// The file, unless that means standard input.
    fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|path| *path != Path::new("-"))
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
    let tally = match args.path() {
        Some(path) => from_file(target, args, path).await?,
        None => from_standard_input(target, args).await?,
    };
    if args.json { output::json(&tally) } else { output::line(tally.text()) }
}

async fn from_standard_input(target: &Target, args: &Args) -> Outcome<Tally> {
    let queue = connect::existing_or_new(target).await?;
    let progress = Progress::quiet("enqueueing", Unit::Things("bytes"), 0);
    Feed::new(args.lines(std::io::stdin()), progress, Input::Waits).run(queue).await
}

async fn from_file(target: &Target, args: &Args, path: &Path) -> Outcome<Tally> {
    let name = path.display();
    let (file, bytes) = source::open(path)?;
    if bytes.is_some() {
        check(args.lines(source::open(path)?.0))
            .map_err(|failure| failure.context(&name).note("nothing was enqueued"))?;
    }
    let queue = connect::existing_or_new(target).await?;
    let progress = Progress::quiet("enqueueing", Unit::Bytes, bytes.unwrap_or_default());
    let input = if bytes.is_none() { Input::Waits } else { Input::IsThere };
    let fed = Feed::new(args.lines(file), progress, input).run(queue).await;
    fed.map_err(|failure| failure.context(name))
}

fn check(mut lines: Lines<File>) -> Outcome {
    while lines.next_task()?.is_some() {}
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    fn given_up(may_be_in: bool) -> GivenUp {
        GivenUp { failure: Failure::new(Code::Temporary, "no answer"), may_be_in }
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
