//! The section `audit_log` of the file of `--config`: where audit records go, and when a batch of them is written.

use std::time::Duration;

use serde::Deserialize;
use taskqueue_handlers::audit::AuditConfig;

use super::{AT_LEAST_ONE, HandlersFile, MIB, Receiver};
use crate::failure::Outcome;

/// One destination, and the size of batches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::commands::work) struct AuditLog {
    records_max: usize,
    size_max_mib: u64,
    age_max_milliseconds: u64,
    /// Objects of the store.
    pub(in crate::commands::work) objects: Option<Objects>,
    /// An HTTP receiver.
    pub(in crate::commands::work) http: Option<Receiver>,
}

/// Where objects are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands::work) struct Objects {
    pub(in crate::commands::work) bucket: String,
    /// How their keys begin.
    #[serde(default)]
    pub(in crate::commands::work) prefix: String,
}

impl Default for AuditLog {
    fn default() -> Self {
        let AuditConfig { records_max, bytes_max, age_max, .. } = AuditConfig::default();
        Self {
            records_max,
            size_max_mib: bytes_max as u64 / MIB,
            age_max_milliseconds: u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX),
            objects: None,
            http: None,
        }
    }
}

impl AuditLog {
    pub(in crate::commands::work) fn batches(&self) -> AuditConfig {
        let bytes = self.size_max_mib.saturating_mul(MIB);
        AuditConfig::default()
            .records_max(self.records_max)
            .bytes_max(usize::try_from(bytes).unwrap_or(usize::MAX))
            .age_max(Duration::from_millis(self.age_max_milliseconds))
    }
}

impl HandlersFile {
    pub(super) fn check_audit_log(&self) -> Outcome {
        let section = &self.config.audit_log;
        self.in_range("audit_log.records_max", section.records_max as u64, AT_LEAST_ONE)?;
        self.in_range("audit_log.size_max_mib", section.size_max_mib, AT_LEAST_ONE)?;
        section.batches().validate().map_err(|error| self.wrong("audit_log", error))?;
        // None is needed where nothing is shipped.
        if section.objects.is_some() && section.http.is_some() {
            return Err(self.wrong("audit_log", "expected either objects or http, found both"));
        }
        if let Some(http) = &section.http {
            self.check_timeout("audit_log.http", http.timeout_seconds)?;
        }
        if section.objects.as_ref().is_some_and(|objects| objects.bucket.is_empty()) {
            return Err(self.wrong("audit_log.objects.bucket", "it is empty"));
        }
        Ok(())
    }
}
