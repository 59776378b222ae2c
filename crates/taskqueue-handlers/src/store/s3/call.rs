//! One request: how long it may take, and that what goes wrong is told in the store's terms.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::time::timeout;

use super::upload::Sent;
use super::{S3Store, failure};
use crate::store::StoreError;

impl S3Store {
    /// A request that carries little, and is answered at once.
    pub(super) async fn answered<T, E: ProvideErrorMetadata>(
        &self,
        operation: &str,
        target: &impl Display,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StoreError>
    where
        SdkError<E, HttpResponse>: std::error::Error,
    {
        within(operation, target, self.config.answer_timeout, request).await
    }

    /// A request that has the store itself work.
    pub(super) async fn worked<T, E: ProvideErrorMetadata>(
        &self,
        operation: &str,
        target: &impl Display,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StoreError>
    where
        SdkError<E, HttpResponse>: std::error::Error,
    {
        within(operation, target, self.config.work_timeout, request).await
    }

    /// A request with a streamed body: it may take as long as it moves.
    pub(super) async fn streamed<T, E: ProvideErrorMetadata>(
        &self,
        operation: &str,
        target: &impl Display,
        sent: &Sent,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StoreError>
    where
        SdkError<E, HttpResponse>: std::error::Error,
    {
        let stalled = sent.stalled(self.config.stall_timeout, self.config.answer_timeout);
        let answer = tokio::select! {
            answer = request => answer,
            stalled = stalled => return Err(failure::timed_out(operation, target, stalled)),
        };
        // What the body's source says comes before what the SDK makes of it.
        answer.map_err(|error| sent.failure().unwrap_or_else(|| failure::of(operation, target, &error)))
    }
}

async fn within<T, E: ProvideErrorMetadata>(
    operation: &str,
    target: &impl Display,
    limit: Duration,
    request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, StoreError>
where
    SdkError<E, HttpResponse>: std::error::Error,
{
    match timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| failure::of(operation, target, &error)),
        Err(_) => Err(failure::timed_out(operation, target, limit)),
    }
}
