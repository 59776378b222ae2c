//! Runs flushes: each batch of calls in one transaction, beside those that are stuck, and each call alone where the batch
//! failed for what one of them sent or waited for. It knows no SQL, and not which calls share a batch.

use std::pin::pin;
use std::sync::Arc;

use taskqueue_core::{Enqueued, Error, NewTask, Result};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::coalesce::{Call, Flush};
use crate::enqueue::Enqueue;

/// How many tasks a caller sent, and where its answer goes. One that has gone away needs none.
type Caller = (usize, oneshot::Sender<Result<Vec<Enqueued>>>);

/// What tasks are enqueued in.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Enqueues them in one transaction.
    fn enqueue(&self, tasks: &Enqueue) -> impl Future<Output = Result<Vec<Enqueued>>> + Send;

    /// Whether the database takes anything at all.
    fn answers(&self) -> impl Future<Output = bool> + Send;
}

/// Runs a flush in a task of its own, until nothing waits.
pub(crate) fn start(sink: &Arc<impl Sink>, flush: Flush) {
    let sink = Arc::clone(sink);
    tokio::spawn(async move { run(&sink, flush).await });
}

async fn run(sink: &Arc<impl Sink>, mut flush: Flush) {
    let coalescer = Arc::clone(flush.coalescer());
    loop {
        let somebody_waits = coalescer.somebody_waits();
        let Some(calls) = flush.next(Instant::now()) else { return };
        let mut enqueuing = pin!(enqueue(sink, calls, &flush));
        // A timer wakes another thread: there is none as long as nobody waits.
        if !flush.others_wait() {
            tokio::select! {
                biased;
                () = enqueuing.as_mut() => continue,
                () = somebody_waits => {}
            }
        }
        // One for all who wait; who comes later looks at the time by itself.
        if timeout_at(flush.stuck_at(), enqueuing.as_mut()).await.is_err() {
            if let Some(another) = flush.another(Instant::now()) {
                start(sink, another);
            }
            enqueuing.await;
        }
    }
}

/// Enqueues calls in one transaction and answers each. Nobody fails for what another one sent, nor for a lock that
/// another one waited for; all fail at once for the database's state.
async fn enqueue(sink: &Arc<impl Sink>, calls: Vec<Call>, flush: &Flush) {
    let mut joined = Enqueue(Vec::new());
    let mut callers = Vec::with_capacity(calls.len());
    for Call { tasks, answer } in calls {
        callers.push((tasks.len(), answer));
        joined.0.extend(tasks);
    }
    let error = match sink.enqueue(&joined).await {
        Ok(answers) => return succeed(callers, answers),
        Err(error) => error,
    };
    let is_stuck = error.is_transient() && flush.is_stuck(Instant::now());
    let is_down = is_stuck && (callers.len() > 1 || flush.others_wait()) && !sink.answers().await;
    if is_down {
        // They would wait as long, while ever more come.
        fail(flush.take_waiting().into_iter().map(|call| call.answer), &error);
    }
    if is_down || callers.len() == 1 || (error.is_transient() && !is_stuck) {
        fail(callers.into_iter().map(|(_, caller)| caller), &error);
    } else {
        enqueue_each(sink, callers, joined.0, flush.places_alone());
    }
}

fn fail(callers: impl Iterator<Item = oneshot::Sender<Result<Vec<Enqueued>>>>, error: &Error) {
    callers.for_each(|caller| drop(caller.send(Err(error.clone()))));
}

fn succeed(callers: Vec<Caller>, answers: Vec<Enqueued>) {
    let mut answers = answers.into_iter();
    for (tasks, caller) in callers {
        drop(caller.send(Ok(answers.by_ref().take(tasks).collect())));
    }
}

/// Enqueues calls in a transaction each, a few at the same time: one of them may wait for long, and take a connection for it.
fn enqueue_each(sink: &Arc<impl Sink>, callers: Vec<Caller>, tasks: Vec<NewTask>, places: &Arc<Semaphore>) {
    let mut tasks = tasks.into_iter();
    for (count, caller) in callers {
        let (sink, alone) = (Arc::clone(sink), Enqueue(tasks.by_ref().take(count).collect()));
        let place = Arc::clone(places).acquire_owned();
        tokio::spawn(async move {
            let _place = place.await;
            drop(caller.send(sink.enqueue(&alone).await));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use taskqueue_core::ErrorKind;
    use tokio::time::sleep;

    use super::*;
    use crate::coalesce::{Coalescer, FLUSH_STUCK};

    const STATEMENT_TIME: Duration = Duration::from_secs(60);
    const ACQUIRE_TIME: Duration = Duration::from_secs(30);
    const ROUND_TRIP: Duration = Duration::from_millis(1);

    /// A database that is there or not. A task of the type `locked` waits for a lock until the statement's time is up, one
    /// of the type `refused` is refused.
    #[derive(PartialEq)]
    enum Database {
        Up,
        Down,
    }

    impl Sink for Database {
        async fn enqueue(&self, tasks: &Enqueue) -> Result<Vec<Enqueued>> {
            let is_any = |name: &str| tasks.0.iter().any(|task| task.task_type.as_str() == name);
            let (time, failure) = match self {
                Self::Down => (ACQUIRE_TIME, Some(ErrorKind::Unavailable)),
                Self::Up if is_any("locked") => (STATEMENT_TIME, Some(ErrorKind::Unavailable)),
                Self::Up if is_any("refused") => (ROUND_TRIP, Some(ErrorKind::InvalidInput)),
                Self::Up => (ROUND_TRIP, None),
            };
            sleep(time).await;
            let created = || tasks.0.iter().map(|task| Enqueued::Created(task.id)).collect();
            failure.map_or_else(|| Ok(created()), |kind| Err(Error::new(kind, "enqueue", "no")))
        }

        async fn answers(&self) -> bool {
            *self == Self::Up
        }
    }

    /// A queue of nothing but enqueues.
    struct Queue {
        sink: Arc<Database>,
        coalescer: Arc<Coalescer>,
    }

    impl Queue {
        fn new(database: Database) -> Self {
            Self { sink: Arc::new(database), coalescer: Arc::default() }
        }

        fn enqueue(&self, name: &str) -> oneshot::Receiver<Result<Vec<Enqueued>>> {
            let (answer, answered) = oneshot::channel();
            let tasks = vec![NewTask::raw(name, "1").expect("a valid task")];
            if let Some(flush) = self.coalescer.push(Call { tasks, answer }, Instant::now()) {
                start(&self.sink, flush);
            }
            answered
        }
    }

    async fn kind(answered: oneshot::Receiver<Result<Vec<Enqueued>>>) -> Option<ErrorKind> {
        answered.await.expect("an answer").err().map(|error| error.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_a_flush_is_not_stuck_yet_waits_until_it_is_and_no_longer() {
        let queue = Queue::new(Database::Up);
        let _locked = queue.enqueue("locked");
        sleep(FLUSH_STUCK / 2).await;
        let came = Instant::now();
        assert_eq!(kind(queue.enqueue("free")).await, None);
        assert!(came.elapsed() <= FLUSH_STUCK, "after {:?}", came.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn ids_that_are_held_for_long_stop_nobody_else() {
        let queue = Queue::new(Database::Up);
        let mut locked = Vec::new();
        for _ in 0..5 {
            locked.push(queue.enqueue("locked"));
            sleep(FLUSH_STUCK * 4).await;
        }
        let came = Instant::now();
        assert_eq!(kind(queue.enqueue("free")).await, None);
        assert!(came.elapsed() <= FLUSH_STUCK * 8, "after {:?}", came.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_fails_for_a_lock_that_another_one_waited_for() {
        let queue = Queue::new(Database::Up);
        let [locked, free] = ["locked", "free"].map(|name| queue.enqueue(name));
        assert_eq!(kind(free).await, None);
        assert_eq!(kind(locked).await, Some(ErrorKind::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_tried_alone_leave_connections_to_others() {
        let (queue, came) = (Queue::new(Database::Up), Instant::now());
        for call in ["locked"; 5].map(|name| queue.enqueue(name)) {
            assert_eq!(kind(call).await, Some(ErrorKind::Unavailable));
        }
        assert!(
            came.elapsed() >= 4 * STATEMENT_TIME,
            "together, then two, two, and one: {:?}",
            came.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_fails_for_what_another_one_sent() {
        let queue = Queue::new(Database::Up);
        let [refused, free] = ["refused", "free"].map(|name| queue.enqueue(name));
        assert_eq!(kind(refused).await, Some(ErrorKind::InvalidInput));
        assert_eq!(kind(free).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_not_tried_alone_while_the_database_is_down() {
        let (queue, came) = (Queue::new(Database::Down), Instant::now());
        for answered in ["free"; 3].map(|name| queue.enqueue(name)) {
            assert_eq!(kind(answered).await, Some(ErrorKind::Unavailable));
        }
        assert!(came.elapsed() < ACQUIRE_TIME + FLUSH_STUCK * 2, "after {:?}", came.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_when_the_database_turns_out_to_be_down_fails_at_once() {
        let queue = Queue::new(Database::Down);
        let _first = ["free"; 2].map(|name| queue.enqueue(name));
        sleep(ACQUIRE_TIME - FLUSH_STUCK / 2).await;
        let _beside = queue.enqueue("free");
        tokio::task::yield_now().await;
        let (waiting, came) = (queue.enqueue("free"), Instant::now());
        assert_eq!(kind(waiting).await, Some(ErrorKind::Unavailable));
        assert!(came.elapsed() <= FLUSH_STUCK, "after {:?}", came.elapsed());
    }
}
