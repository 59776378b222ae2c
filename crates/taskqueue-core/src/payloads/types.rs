//! The names of the ready-made task types. They are stored with every task, so they never change.

/// Removal of objects and versions: [`CleanupPayload`](super::CleanupPayload).
pub const CLEANUP: &str = "cleanup";
/// Lifecycle rules: [`LifecyclePayload`](super::LifecyclePayload).
pub const LIFECYCLE: &str = "lifecycle";
/// S3 event notifications: [`EventPayload`](super::EventPayload).
pub const EVENT: &str = "event";
/// Restores from an archive: [`RestorePayload`](super::RestorePayload).
pub const RESTORE: &str = "restore";
/// Copies of an object of an external S3: [`FederationIngestPayload`](super::FederationIngestPayload).
pub const FEDERATION_INGEST: &str = "federation_ingest";
/// Listings of an external bucket: [`FederationDiscoveryPayload`](super::FederationDiscoveryPayload).
pub const FEDERATION_DISCOVERY: &str = "federation_discovery";
/// Replication to another region: [`ReplicationPayload`](super::ReplicationPayload).
pub const REPLICATION: &str = "replication";
/// Shipping of audit records: [`AuditLogPayload`](super::AuditLogPayload).
pub const AUDIT_LOG: &str = "audit_log";
/// Webhook deliveries: [`WebhookPayload`](super::WebhookPayload).
pub const WEBHOOK: &str = "webhook";

/// Every ready-made type.
pub const ALL: [&str; 9] = [
    CLEANUP,
    LIFECYCLE,
    EVENT,
    RESTORE,
    FEDERATION_INGEST,
    FEDERATION_DISCOVERY,
    REPLICATION,
    AUDIT_LOG,
    WEBHOOK,
];
