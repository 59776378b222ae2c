//! The last stage: settles outcomes in batches. It owns batching; what brings follow-up tasks, and what the store did not
//! take, goes apart. It knows nothing of handlers.

use std::pin::pin;
use std::sync::Arc;

use futures::future::join;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::apart::{self, Apart};
use crate::pipe::Pipe;
use crate::settings::SETTLE_BATCH_MAX;
use crate::settling::{Call, Finished, LATE_AFTER, Untaken, settle};
use crate::timing::later;

/// The most late settles beside which the settler begins another one.
const LATE_MAX: usize = 2;

/// Settles what arrives until every sender is gone, or until it is told to give up. One batch at a time: what returns
/// meanwhile makes the next one larger. Beside it goes what may take longer, and a batch that does.
pub(crate) async fn run(pipe: Arc<Pipe>, outcomes: mpsc::Receiver<Finished>) {
    let (sending, lane) = apart::lane(&pipe);
    join(settle_all(&pipe, outcomes, sending), lane).await;
}

async fn settle_all<'p>(pipe: &'p Pipe, mut outcomes: mpsc::Receiver<Finished>, mut apart: Apart<'p>) {
    let late = Arc::new(Semaphore::new(LATE_MAX));
    loop {
        let mut batch = collect(pipe, &mut outcomes).await;
        if batch.is_empty() {
            return;
        }
        let with_follow_ups = batch.extract_if(.., |row| row.follow_ups() > 0).collect();
        let rows = batch.len();
        let settled = quick(Box::pin(settle(pipe, batch)), &late);
        match join(settled, apart.send_new(with_follow_ups)).await.0 {
            Progress::Done(Ok(())) => {}
            Progress::Done(Err(untaken)) => apart.send_failed(untaken),
            Progress::Late(call) => apart.send_late(rows, call),
        }
    }
}

/// What became of a call.
enum Progress<'p> {
    Done(Result<(), Untaken>),
    /// It goes on.
    Late(Call<'p>),
}

/// Waits for a call until it is late and another one may begin beside it.
async fn quick<'p>(mut call: Call<'p>, late: &Arc<Semaphore>) -> Progress<'p> {
    let turn = async {
        tokio::time::sleep(LATE_AFTER).await;
        Arc::clone(late).acquire_owned().await
    };
    tokio::select! {
        biased;
        settled = &mut call => Progress::Done(settled),
        permit = turn => Progress::Late(Box::pin(async move {
            let _permit = permit;
            call.await
        })),
    }
}

/// The next batch: what is there, and what arrives within the settle delay while more tasks are held.
async fn collect(pipe: &Pipe, outcomes: &mut mpsc::Receiver<Finished>) -> Vec<Finished> {
    let mut batch = Vec::new();
    tokio::select! {
        biased;
        _ = outcomes.recv_many(&mut batch, SETTLE_BATCH_MAX) => {}
        () = pipe.tokens.give_up.cancelled() => {
            // Senders that are stuck must not keep the worker from ending; what has arrived is still settled.
            outcomes.close();
            outcomes.recv_many(&mut batch, SETTLE_BATCH_MAX).await;
        }
    }
    let mut delay = pin!(tokio::time::sleep_until(later(Instant::now(), pipe.settings.settle_delay)));
    while !batch.is_empty() && batch.len() < SETTLE_BATCH_MAX && batch.len() < pipe.leases.len() {
        let room = SETTLE_BATCH_MAX - batch.len();
        tokio::select! {
            biased;
            received = outcomes.recv_many(&mut batch, room) => if received == 0 { break },
            () = &mut delay => break,
        }
    }
    batch
}
