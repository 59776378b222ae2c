//! The handlers of `work --handlers`, made of the file of `--config`. It owns which type needs what of it; what each
//! does is in the crate of ready-made handlers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::TaskType;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::types;
use taskqueue_handlers::audit::{AuditLogHandler, HttpAudit, ObjectAudit};
use taskqueue_handlers::cleanup::CleanupHandler;
use taskqueue_handlers::documents::Documents;
use taskqueue_handlers::event::{CachedConfigs, EventRouter, RecordConfig};
use taskqueue_handlers::federation::{DiscoveryHandler, FederationConfigStore, IngestHandler};
use taskqueue_handlers::lifecycle::LifecycleHandler;
use taskqueue_handlers::replication::{Regions, ReplicationHandler};
use taskqueue_handlers::restore::RestoreHandler;
use taskqueue_handlers::store::ObjectRef;
use taskqueue_handlers::webhook::{WebhookHandler, WebhookSender};
use taskqueue_worker::Handler;

use super::config::HandlersFile;
use super::{documents, sinks, stores};
use crate::failure::{Failure, Outcome};

/// The types that can be named.
const READY: [&str; 9] = [
    types::LIFECYCLE,
    types::CLEANUP,
    types::RESTORE,
    types::FEDERATION_DISCOVERY,
    types::FEDERATION_INGEST,
    types::REPLICATION,
    types::EVENT,
    types::WEBHOOK,
    types::AUDIT_LOG,
];

/// The handler of each type that was named.
pub(super) async fn handlers(
    named: &[TaskType],
    file: &HandlersFile,
    metrics: &Metrics,
) -> Outcome<Vec<(TaskType, Arc<dyn Handler>)>> {
    let mut ready = Ready { file, metrics, documents: None };
    let mut handlers = Vec::with_capacity(named.len());
    for task_type in named {
        handlers.push((task_type.clone(), ready.handler(task_type).await?));
    }
    Ok(handlers)
}

/// What handlers are made of.
struct Ready<'a> {
    file: &'a HandlersFile,
    metrics: &'a Metrics,
    /// Opened by the first that needs them.
    documents: Option<Documents>,
}

impl Ready<'_> {
    async fn handler(&mut self, task_type: &TaskType) -> Outcome<Arc<dyn Handler>> {
        let (file, metrics) = (self.file, self.metrics);
        Ok(match task_type.as_str() {
            types::LIFECYCLE => Arc::new(LifecycleHandler::new(stores::local(file)?, metrics)),
            types::CLEANUP => Arc::new(CleanupHandler::new(stores::local(file)?, metrics)),
            types::RESTORE => {
                let (store, progress) = (stores::local(file)?, Arc::new(self.documents().await?));
                let handler = RestoreHandler::new(store, progress, metrics);
                Arc::new(handler.polling(file.config.restore.polling()))
            }
            types::FEDERATION_DISCOVERY => {
                let handler = DiscoveryHandler::new(self.buckets().await?, stores::external(file)?);
                Arc::new(handler.metrics(metrics))
            }
            types::FEDERATION_INGEST => {
                let (external, local) = (stores::external(file)?, stores::local(file)?);
                let handler = IngestHandler::new(self.buckets().await?, external, local, file.transfer())?;
                Arc::new(handler.metrics(metrics))
            }
            types::REPLICATION => {
                let section = &file.config.replication;
                let handler = ReplicationHandler::new(regions(file)?, file.transfer())?.metrics(metrics);
                let handler = handler.follows_deletes(section.follows_deletes);
                Arc::new(handler.etag_is_md5(section.etag_is_md5))
            }
            types::EVENT => Arc::new(self.events().await?),
            types::WEBHOOK => Arc::new(WebhookHandler::new(sender(file)?)),
            types::AUDIT_LOG => Arc::new(audit(file)?.metrics(metrics)),
            unknown => {
                let known = READY.join(", ");
                return Err(Failure::usage(format!("work: --handlers names {unknown}, expected {known}")));
            }
        })
    }

    async fn documents(&mut self) -> Outcome<Documents> {
        if self.documents.is_none() {
            self.documents = Some(documents::open(self.file).await?);
        }
        self.documents.clone().ok_or_else(|| self.file.wrong("documents", "expected the section [documents]"))
    }

    /// Those of the file, or else those of the documents.
    async fn buckets(&mut self) -> Outcome<Arc<dyn FederationConfigStore>> {
        let buckets = &self.file.config.federation.buckets;
        if !buckets.is_empty() {
            let by_name = buckets.iter().map(|config| (config.bucket.clone(), config.clone()));
            return Ok(Arc::new(by_name.collect::<BTreeMap<_, _>>()));
        }
        if self.file.config.documents.is_none() {
            let expected = "expected at least one bucket, or the section [documents]";
            return Err(self.file.wrong("federation.buckets", expected));
        }
        Ok(Arc::new(self.documents().await?))
    }

    async fn events(&mut self) -> Outcome<EventRouter<CachedConfigs<Documents>>> {
        let section = &self.file.config.event;
        let age_max = Duration::from_secs(section.configurations_age_max_seconds);
        let destinations = sinks::destinations(self.file).await?;
        let configurations = CachedConfigs::new(self.documents().await?, age_max);
        let record = RecordConfig::default().region(&section.region);
        Ok(EventRouter::new(configurations, destinations).record(record).metrics(self.metrics))
    }
}

fn regions(file: &HandlersFile) -> Outcome<Regions> {
    let regions = &file.config.replication.regions;
    if regions.is_empty() {
        return Err(file.wrong("replication.regions", "expected a section for each region"));
    }
    let store = |(name, address)| {
        Ok((String::clone(name), stores::open(file, &format!("replication.regions.{name}"), address)?))
    };
    regions.iter().map(store).collect()
}

fn sender(file: &HandlersFile) -> Outcome<WebhookSender> {
    let webhook = &file.config.webhook;
    let mut config = sinks::webhooks(file, "webhook", webhook.allow_private, webhook.secret.as_ref())?;
    for (name, secret) in &webhook.secrets {
        config = config.named_secret(name, sinks::signing(file, &format!("webhook.secrets.{name}"), secret)?);
    }
    Ok(WebhookSender::new(config)?)
}

fn audit(file: &HandlersFile) -> Outcome<AuditLogHandler> {
    let section = &file.config.audit_log;
    let handler = if let Some(objects) = &section.objects {
        let place = ObjectRef::new(&objects.bucket, &objects.prefix);
        AuditLogHandler::new(ObjectAudit::new(stores::local(file)?, place), section.batches())
    } else if let Some(http) = &section.http {
        let (sender, endpoint) = sinks::receiver(file, "audit_log.http", http)?;
        AuditLogHandler::new(HttpAudit::new(sender, endpoint), section.batches())
    } else {
        return Err(file.wrong("audit_log", "expected objects or http: where the records go"));
    };
    Ok(handler?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    async fn said(task_type: &str, text: &str) -> String {
        let file = HandlersFile::parse(Path::new("handlers.toml"), text).expect("its form is right");
        let named = TaskType::new(task_type).expect("a type");
        let made = Ready { file: &file, metrics: &Metrics::default(), documents: None }.handler(&named).await;
        made.err().and_then(|failure| failure.message().map(str::to_owned)).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_handler_whose_section_is_missing_names_it() {
        let event = "[event.destinations.hook.webhook]\nurl = \"https://example.org/hook\"\n";
        let cases = [
            ("event", event, "documents: expected the section [documents]"),
            ("audit_log", "", "audit_log: expected objects or http: where the records go"),
            ("replication", "", "replication.regions: expected a section for each region"),
        ];
        for (task_type, text, expected) in cases {
            assert_eq!(said(task_type, text).await, format!("handlers.toml: {expected}"));
        }
    }

    #[tokio::test]
    async fn a_type_that_is_not_ready_made_is_answered_with_those_that_are() {
        let expected = "work: --handlers names mail, expected lifecycle, cleanup, restore, federation_discovery, \
                        federation_ingest, replication, event, webhook, audit_log";
        assert_eq!(said("mail", "").await, expected);
    }

    #[cfg(feature = "s3")]
    #[tokio::test]
    async fn what_stores_and_documents_are_needed_for_is_made_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "key").expect("writable");
        let text = format!(
            "[credentials.local]\naccess_key_id = {{ file = {secret:?} }}\nsecret_access_key = {{ file = {secret:?} }}\n\
             [store]\nendpoint = \"http://127.0.0.1:1\"\nregion = \"r\"\ncredentials = \"local\"\n\
             [audit_log.objects]\nbucket = \"audit\"\n"
        );
        assert_eq!(said("audit_log", &text).await, "");
        assert_eq!(
            said("restore", &text).await,
            "handlers.toml: documents: expected the section [documents]"
        );
        let expected = "federation.buckets: expected at least one bucket, or the section [documents]";
        assert_eq!(said("federation_ingest", &text).await, format!("handlers.toml: {expected}"));
        let text = format!("{text}[documents]\nfolder = {:?}\n", folder.path());
        for task_type in ["restore", "federation_discovery", "federation_ingest"] {
            assert_eq!(said(task_type, &text).await, "", "{task_type}");
        }
    }
}
