//! Calls that come to their end. A call runs in its caller's task, where it costs no change of tasks; one whose future is
//! dropped on the way goes on in a task of its own, so that no transaction is left open in the pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use taskqueue_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;

/// A call under way.
pub(crate) struct ToItsEnd<A: Send + 'static> {
    name: &'static str,
    runtime: Handle,
    /// None once it has ended.
    call: Option<Pin<Box<dyn Future<Output = Result<A>> + Send>>>,
}

/// Runs a call to its end, also when the caller's future is dropped. A panic in it is an error.
pub(crate) fn to_its_end<A: Send + 'static>(
    name: &'static str,
    call: impl Future<Output = Result<A>> + Send + 'static,
) -> ToItsEnd<A> {
    ToItsEnd { name, runtime: Handle::current(), call: Some(Box::pin(call)) }
}

impl<A: Send + 'static> Future for ToItsEnd<A> {
    type Output = Result<A>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<A>> {
        let call = self.call.as_mut().expect("it is not polled after its end");
        let answer = match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => answer,
            Err(_) => Err(Error::new(ErrorKind::Backend, self.name, "the call panicked")),
        };
        self.call = None;
        Poll::Ready(answer)
    }
}

impl<A: Send + 'static> Drop for ToItsEnd<A> {
    /// Where the runtime has ended as well, the call is dropped within it: connections close themselves by it.
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let _within = self.runtime.enter();
            self.runtime.spawn(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_call_that_is_dropped_on_its_way_goes_on() {
        let ((go_on, told), (end, ended)) = (oneshot::channel(), oneshot::channel());
        let mut call = to_its_end("enqueue", async move {
            let told: u32 = told.await.expect("it is told");
            end.send(told).expect("somebody wants to know");
            Ok(())
        });
        tokio::select! {
            biased;
            _ = &mut call => unreachable!("it waits"),
            () = ready(()) => drop(call),
        }
        go_on.send(1).expect("it waits still");
        assert_eq!(ended.await, Ok(1));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_names_the_call() {
        let error = to_its_end::<()>("enqueue", async { panic!("on purpose") }).await.expect_err("it panics");
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Backend, "enqueue"));
    }

    #[test]
    fn a_call_that_outlives_its_runtime_is_dropped_quietly() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let within = runtime.enter();
        let call = to_its_end::<()>("enqueue", pending());
        drop(within);
        drop(runtime);
        drop(call);
    }
}
