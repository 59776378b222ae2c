//! The limits of one call, whatever it carries, and what a batch of tasks goes through before any backend sees it.

use crate::new_task::OPERATION;
use crate::{Error, NewTask, Result, trace};

/// The most rows that one call may enqueue, claim, settle or list.
pub const BATCH_MAX: usize = 10_000;
/// The most that the payloads of the tasks that one call enqueues may add up to, in bytes: 256 MiB. A quarter of what PostgreSQL
/// takes in one message, which closes the connection beyond that. One task may have as much as its own limit says.
pub const BATCH_PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Checks a whole batch: its size, then each task.
///
/// # Errors
/// `InvalidInput` for more than [`BATCH_MAX`] tasks or payloads of more than [`BATCH_PAYLOAD_BYTES_MAX`] together, and as
/// [`NewTask::validate`].
pub fn validate_batch(tasks: &[NewTask], payload_bytes_max: usize) -> Result<()> {
    check_batch(OPERATION, tasks.len())?;
    tasks.iter().try_for_each(|task| task.validate(payload_bytes_max))?;
    check_payloads(OPERATION, tasks, payload_bytes_max)
}

/// Makes a batch ready to be stored: checks it, and gives the current trace context to tasks that have none
/// ([`trace`]). Every backend calls this before it does anything, and every way of enqueueing comes by here.
///
/// # Errors
/// As [`validate_batch`]; then nothing was given.
pub fn prepare_batch(tasks: &mut [NewTask], payload_bytes_max: usize) -> Result<()> {
    validate_batch(tasks, payload_bytes_max)?;
    trace::capture(tasks);
    Ok(())
}

/// Checks what the payloads of one call add up to.
///
/// # Errors
/// `InvalidInput` for more than [`BATCH_PAYLOAD_BYTES_MAX`], or than `payload_bytes_max` where that is more.
pub(crate) fn check_payloads<'t>(
    operation: &'static str,
    tasks: impl IntoIterator<Item = &'t NewTask>,
    payload_bytes_max: usize,
) -> Result<()> {
    let bytes_max = BATCH_PAYLOAD_BYTES_MAX.max(payload_bytes_max);
    let bytes: usize = tasks.into_iter().map(|task| task.payload.as_str().len()).sum();
    if bytes > bytes_max {
        let message = format!(
            "{bytes} bytes of payloads in one call, more than the limit of {bytes_max}: use several calls"
        );
        return Err(Error::invalid_input(operation, message));
    }
    Ok(())
}

/// Checks the number of rows that one call carries.
///
/// # Errors
/// `InvalidInput` for more than [`BATCH_MAX`].
pub fn check_batch(operation: &'static str, rows: usize) -> Result<()> {
    if rows > BATCH_MAX {
        let message = format!("{rows} rows in one call, more than the limit of {BATCH_MAX}");
        return Err(Error::invalid_input(operation, message));
    }
    Ok(())
}

/// Checks a limit that a caller gave.
///
/// # Errors
/// `InvalidInput` unless it is in `1..=BATCH_MAX`.
pub fn check_limit(operation: &'static str, limit: usize) -> Result<()> {
    if limit == 0 || limit > BATCH_MAX {
        return Err(Error::invalid_input(operation, format!("limit {limit} is not in 1..={BATCH_MAX}")));
    }
    Ok(())
}
