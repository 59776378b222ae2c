//! The payload of audit log shipping.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{optional, types};
use crate::Payload;

/// One record of who did what, to be shipped to where audit logs are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditLogPayload {
    /// The record's own id: a receiver drops a second delivery by it.
    pub record_id: String,
    /// When it happened, in Unix nanoseconds.
    pub timestamp: i64,
    /// Who did it; `anonymous` when nobody was authenticated.
    pub principal_id: String,
    /// What was done: `s3:GetObject`.
    pub action: String,
    /// The bucket that it was done to.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub bucket: Option<String>,
    /// The key of the object that it was done to.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub key: Option<String>,
    /// The version of that object.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub version_id: Option<String>,
    /// The id of the request.
    pub request_id: String,
    /// The IP address from which the request came.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub source_ip: Option<String>,
    /// The `User-Agent` of the request.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub user_agent: Option<String>,
    /// The region that served it.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub region: Option<String>,
    /// The HTTP status of the answer.
    pub status_code: u16,
    /// The S3 error code of the answer, where it was one: `AccessDenied`.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub error_code: Option<String>,
    /// Whatever else is to be on record.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub details: Option<BTreeMap<String, String>>,
}

impl Payload for AuditLogPayload {
    const TYPE: &'static str = types::AUDIT_LOG;
}
