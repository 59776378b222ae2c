//! What the SDK reports, as the store's errors. Which kinds there are and which of them pass is `StoreErrorKind`'s.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::store::{StoreError, StoreErrorKind};

/// The longest wait that a server can ask for.
const RETRY_AFTER_SECONDS_MAX: u64 = 3600;

/// A failed request.
pub(super) fn of<E: ProvideErrorMetadata>(
    operation: &str,
    target: &impl Display,
    error: &SdkError<E, HttpResponse>,
) -> StoreError
where
    SdkError<E, HttpResponse>: Error,
{
    let (Some(answer), Some(_)) = (error.raw_response(), error.as_service_error()) else {
        return StoreError::new(
            kind_without_answer(error),
            format!("{operation} {target}: {}", chain(error)),
        );
    };
    let status = answer.status().as_u16();
    let code = error.code().filter(|code| !code.is_empty());
    let mut kind = StoreErrorKind::of_answer(status, code);
    if answer.headers().get("x-amz-delete-marker") == Some("true") {
        kind = StoreErrorKind::NotFound;
    }
    let said = [code, error.message()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let mut said = if said.is_empty() { format!("{status}") } else { format!("{status} {said}") };
    // S3 says so to who asks in another region.
    if let (300..=400, Some(region)) = (status, answer.headers().get("x-amz-bucket-region")) {
        said += &format!("; the bucket is in region {region}");
    }
    let retry_after = answer.headers().get("retry-after").and_then(retry_after);
    StoreError::new(kind, format!("{operation} {target}: {said}")).with_code(code).retry_after(retry_after)
}

/// A request that took too long.
pub(super) fn timed_out(operation: &str, target: &impl Display, limit: Duration) -> StoreError {
    let message = format!("{operation} {target}: nothing came for {} ms", limit.as_millis());
    StoreError::new(StoreErrorKind::Unavailable, message)
}

fn kind_without_answer<E>(error: &SdkError<E, HttpResponse>) -> StoreErrorKind {
    match error {
        SdkError::ConstructionFailure(_) => StoreErrorKind::Invalid,
        _ => StoreErrorKind::Unavailable,
    }
}

/// What went wrong, from the outside to the cause. The SDK's texts name hosts and no credentials.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.dedup();
    texts.join(": ")
}

/// Seconds; a date would need a clock, and no S3 server sends one.
fn retry_after(value: &str) -> Option<Duration> {
    let seconds: u64 = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX))).filter(|delay| !delay.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_is_asked_for_is_bounded_and_never_zero() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("999999"), Some(Duration::from_secs(3600)));
        assert_eq!((retry_after("0"), retry_after("soon")), (None, None));
    }
}
