//! The payloads of the ready-made task types, with the JSON names that producers in other languages share. It
//! owns names, units and what may be left out; it knows nothing of what handlers do with them.
//!
//! In every payload: unknown names are ignored; fields of type `Option` are left out when empty (`None`, an
//! empty string, zero, an empty map) and may be absent, null or empty when read; all others are always there.

mod audit_log;
mod cleanup;
mod event;
mod federation;
mod lifecycle;
mod optional;
mod replication;
mod restore;
pub mod types;
mod webhook;

pub use audit_log::AuditLogPayload;
pub use cleanup::{CleanupPayload, CleanupScope};
pub use event::EventPayload;
pub use federation::{DISCOVERY_BATCH_SIZE_DEFAULT, FederationDiscoveryPayload, FederationIngestPayload};
pub use lifecycle::{LifecycleAction, LifecyclePayload};
pub use replication::{ReplicationOperation, ReplicationPayload};
pub use restore::{DEEP_ARCHIVE, GLACIER, RestorePayload, RestoreTier};
pub use webhook::WebhookPayload;
