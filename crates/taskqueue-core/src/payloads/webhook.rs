//! The payload of webhook deliveries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{optional, types};
use crate::{Payload, RawPayload};

/// A body is to be POSTed to a URL.
///
/// Payloads are shown to operators, so a signing secret is never part of one: it is named, and the worker that
/// delivers knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookPayload {
    /// Where to: an absolute `http` or `https` URL.
    pub url: String,
    /// Headers to add; `content-type` replaces the default `application/json`. Those that the delivery sets itself
    /// (`webhook-…`, `host`, `content-length`) are refused.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Any JSON value, sent byte for byte.
    pub body: RawPayload,
    /// The name of the signing secret that the worker is configured with; none: the worker's default.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub secret_name: Option<String>,
    /// How long one delivery may take, in milliseconds; none: the worker's setting, which is also the most.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub timeout_ms: Option<u64>,
}

impl Payload for WebhookPayload {
    const TYPE: &'static str = types::WEBHOOK;
}
