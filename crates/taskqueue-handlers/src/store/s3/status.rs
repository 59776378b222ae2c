//! The status of an answer that the SDK keeps to itself: a restore that is there already is told from one that begins
//! by 200 and 202, and by nothing else.

use std::sync::{Arc, OnceLock};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// Sees the answer to one request.
#[derive(Debug, Clone, Default)]
pub(super) struct StatusOf(Arc<OnceLock<u16>>);

impl StatusOf {
    /// The status, once there was an answer.
    pub(super) fn get(&self) -> Option<u16> {
        self.0.get().copied()
    }
}

impl Intercept for StatusOf {
    fn name(&self) -> &'static str {
        "StatusOf"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.set(context.response().status().as_u16()).ok();
        Ok(())
    }
}
