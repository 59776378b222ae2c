//! The handlers of `work --handlers`, made of the file of `--config`. It owns which type needs what of it; what each
//! does is in the crate of ready-made handlers.

use std::collections::BTreeMap;

use taskqueue_core::TaskType;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::types;
use taskqueue_handlers::cleanup::CleanupHandler;
use taskqueue_handlers::federation::{DiscoveryHandler, FederationConfig, IngestHandler};
use taskqueue_handlers::lifecycle::LifecycleHandler;
use taskqueue_handlers::replication::{Regions, ReplicationHandler};
use taskqueue_handlers::webhook::{
    AddressPolicy, SigningSecret, WebhookConfig, WebhookHandler, WebhookSender,
};

use super::config::HandlersFile;
use super::handlers::Handlers;
use super::stores;
use crate::failure::{Failure, Outcome};

/// The types that can be named.
const READY: [&str; 6] = [
    types::LIFECYCLE,
    types::CLEANUP,
    types::FEDERATION_DISCOVERY,
    types::FEDERATION_INGEST,
    types::REPLICATION,
    types::WEBHOOK,
];

/// Adds the handler of each type.
pub(super) fn add(handlers: &mut Handlers, named: &[TaskType], file: &HandlersFile) -> Outcome {
    for task_type in named {
        match task_type.as_str() {
            types::LIFECYCLE => {
                handlers.add(
                    task_type.clone(),
                    LifecycleHandler::new(stores::local(file)?, &Metrics::default()),
                )?;
            }
            types::CLEANUP => {
                handlers
                    .add(task_type.clone(), CleanupHandler::new(stores::local(file)?, &Metrics::default()))?;
            }
            types::FEDERATION_DISCOVERY => {
                let handler = DiscoveryHandler::new(buckets(file)?, stores::external(file)?);
                handlers.add(task_type.clone(), handler)?;
            }
            types::FEDERATION_INGEST => {
                let (buckets, external, local) =
                    (buckets(file)?, stores::external(file)?, stores::local(file)?);
                let handler = IngestHandler::new(buckets, external, local, file.transfer())?;
                handlers.add(task_type.clone(), handler)?;
            }
            types::REPLICATION => {
                let handler = ReplicationHandler::new(regions(file)?, file.transfer())?;
                handlers.add(task_type.clone(), handler)?;
            }
            types::WEBHOOK => handlers.add(task_type.clone(), WebhookHandler::new(sender(file)?))?,
            unknown => {
                let known = READY.join(", ");
                return Err(Failure::usage(format!("work: --handlers names {unknown}, expected {known}")));
            }
        }
    }
    Ok(())
}

fn buckets(file: &HandlersFile) -> Outcome<BTreeMap<String, FederationConfig>> {
    let buckets = &file.config.federation.buckets;
    if buckets.is_empty() {
        return Err(file.wrong("federation.buckets", "expected at least one bucket"));
    }
    Ok(buckets.iter().map(|config| (config.bucket.clone(), config.clone())).collect())
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
    let addresses = if webhook.allow_private { AddressPolicy::Any } else { AddressPolicy::PublicOnly };
    let mut config = WebhookConfig::default().addresses(addresses);
    if let Some(secret) = &webhook.secret {
        let secret = SigningSecret::parse(&file.secret("webhook.secret", secret)?);
        config = config.secret(secret.map_err(|error| file.wrong("webhook.secret", error))?);
    }
    Ok(WebhookSender::new(config)?)
}
