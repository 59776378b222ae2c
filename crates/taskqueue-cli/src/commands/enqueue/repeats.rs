//! A batch on its way in, sent again with the same ids where the database's answer does not come. It owns how often,
//! and what is known of a batch that is given up; it knows no line and no option.

use std::future::Future;
use std::time::Duration;

use taskqueue_core::{Enqueued, ErrorKind, NewTask, Queue, Result as QueueResult};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::output;

/// The waits before the first further tries: a connection that broke, a server that hands over to another.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(1)];
/// The wait before each try after those.
const PAUSE_LAST: Duration = Duration::from_secs(2);
/// For how long further tries begin. One of a server that is silent may take that long itself, so that one follows anyway.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// A wait that a person notices is told.
const TOLD_FROM: Duration = Duration::from_secs(1);

/// A batch that was given up.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) failure: Failure,
    /// Whether its tasks may be in all the same, because a reply was lost.
    pub(super) may_be_in: bool,
}

/// Enqueues all of them or, as far as is known, none.
pub(super) async fn enqueue(queue: &impl Queue, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, GivenUp> {
    repeated(tasks, |tasks| queue.enqueue_many(tasks)).await
}

/// Only this process knows the ids that it gave: a task that another run enqueues again is another task.
async fn repeated<Answer>(
    tasks: Vec<NewTask>,
    call: impl Fn(Vec<NewTask>) -> Answer,
) -> Result<Vec<Enqueued>, GivenUp>
where
    Answer: Future<Output = QueueResult<Vec<Enqueued>>>,
{
    let mut may_be_in = false;
    let started = Instant::now();
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match call(tasks.clone()).await {
            Ok(answers) if may_be_in => return Ok(as_first_told(answers)),
            Ok(answers) => return Ok(answers),
            Err(error) => error,
        };
        may_be_in |= error.is_transient() && error.kind() != ErrorKind::QueueFull;
        let is_first = pauses.len() == PAUSES.len();
        let (pause, elapsed) = (pauses.next().unwrap_or(PAUSE_LAST), started.elapsed());
        let goes_on = error.is_transient() && (is_first || elapsed + pause < AGAIN_WITHIN);
        let failure = Failure::from(error);
        if !goes_on {
            return Err(GivenUp { failure, may_be_in });
        }
        if pause.max(elapsed) >= TOLD_FROM {
            let why = failure.message().unwrap_or_default();
            output::note(format!("taskqueue: {why}; trying again in {}", humantime::format_duration(pause)));
        }
        tokio::time::sleep(pause).await;
    }
}

/// What the answer that was lost has said. A batch goes in as a whole: where nothing of it is created now, what is
/// there was put there by the try before.
fn as_first_told(answers: Vec<Enqueued>) -> Vec<Enqueued> {
    if answers.iter().any(|answer| matches!(answer, Enqueued::Created(_))) {
        return answers;
    }
    let told = |answer| match answer {
        Enqueued::Repeated(id) => Enqueued::Created(id),
        other => other,
    };
    answers.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use taskqueue_core::{Error, TaskId};

    use super::*;

    /// A database that stores what comes, and whose first replies are these errors.
    #[derive(Default)]
    struct Database {
        errors: RefCell<Vec<Error>>,
        ids: RefCell<Vec<TaskId>>,
        calls: RefCell<u32>,
        /// How long each reply takes.
        takes: Duration,
    }

    impl Database {
        fn failing(errors: impl IntoIterator<Item = Error>) -> Self {
            Self { errors: RefCell::new(errors.into_iter().collect()), ..Self::default() }
        }

        async fn enqueue(&self, tasks: Vec<NewTask>) -> QueueResult<Vec<Enqueued>> {
            *self.calls.borrow_mut() += 1;
            tokio::time::advance(self.takes).await;
            let mut ids = self.ids.borrow_mut();
            let store = |task: NewTask| {
                let is_there = ids.contains(&task.id);
                ids.extend((!is_there).then_some(task.id));
                if is_there { Enqueued::Repeated(task.id) } else { Enqueued::Created(task.id) }
            };
            let answers = tasks.into_iter().map(store).collect();
            self.errors.borrow_mut().pop().map_or(Ok(answers), Err)
        }

        async fn take(&self, tasks: &[NewTask]) -> Result<Vec<Enqueued>, GivenUp> {
            repeated(tasks.to_vec(), |tasks| self.enqueue(tasks)).await
        }
    }

    fn tasks() -> Vec<NewTask> {
        ["1", "2"].map(|payload| NewTask::raw("mail", payload).expect("it is JSON")).into()
    }

    fn lost() -> Error {
        Error::new(ErrorKind::Unavailable, "enqueue", "the connection was lost")
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_whose_reply_was_lost_is_in_once_and_counts_as_enqueued() {
        let (database, tasks) = (Database::failing([lost(), lost()]), tasks());
        let answers = database.take(&tasks).await.expect("the third reply comes");
        let created: Vec<_> = tasks.iter().map(|task| Enqueued::Created(task.id)).collect();
        assert_eq!((answers, database.ids.borrow().len()), (created, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_nobody_answers_is_given_up_and_may_be_in() {
        let database = Database::failing(std::iter::repeat_n(lost(), 9));
        let given_up = database.take(&tasks()).await.expect_err("no reply comes");
        assert!(given_up.may_be_in);
        assert_eq!((*database.calls.borrow(), database.ids.borrow().len()), (8, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_silent_for_long_is_asked_once_more_and_given_up() {
        let lost = std::iter::repeat_n(lost(), 9);
        let database = Database { takes: Duration::from_secs(10), ..Database::failing(lost) };
        let started = Instant::now();
        database.take(&tasks()).await.expect_err("no reply comes");
        assert_eq!(*database.calls.borrow(), 2);
        assert!(started.elapsed() < Duration::from_secs(21));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_not_in() {
        let refused = Error::invalid_input("enqueue", "too many");
        let database = Database::failing([refused.clone()]);
        assert!(!database.take(&tasks()).await.expect_err("it is refused").may_be_in);
        assert_eq!(*database.calls.borrow(), 1);
        let full = Database::failing(std::iter::repeat_n(Error::full("enqueue", 1), 9));
        assert!(!full.take(&tasks()).await.expect_err("it stays full").may_be_in);
        let database = Database::failing([refused, lost()]);
        let given_up = database.take(&tasks()).await.expect_err("it is refused at last");
        assert!(given_up.may_be_in, "what the lost reply said, nobody knows");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_was_there_before_is_told_as_such() {
        let (database, tasks) = (Database::default(), tasks());
        database.take(&tasks[..1]).await.expect("it is free");
        let answers = database.take(&tasks).await.expect("it is free");
        assert_eq!(answers, [Enqueued::Repeated(tasks[0].id), Enqueued::Created(tasks[1].id)]);
    }
}
