//! Federation: the objects of an external bucket are brought into a local one, while both are in use. It owns what the
//! two task types share; the listing is in `discovery`, the copying in `ingest`.

mod attempt;
mod config;
mod discovery;
mod history;
mod ingest;

pub use self::config::{
    Conflict, ExternalBucket, ExternalStores, FederationConfig, FederationConfigStore, OneStore,
};
pub use self::discovery::{Discovered, DiscoveryHandler, PAUSE_SNOOZE};
pub use self::ingest::{How, IngestHandler, Ingested};
use crate::HandlerError;
pub use crate::transfer::{SOURCE_ETAG_KEY, TransferConfig};

/// The configuration of a bucket, once it is found to make sense; `None` while it is paused.
async fn configured(
    configs: &dyn FederationConfigStore,
    bucket: &str,
) -> Result<Option<FederationConfig>, HandlerError> {
    let config = configs.get(bucket).await?;
    let config = config.ok_or_else(|| {
        HandlerError::permanent(format!("bucket {bucket:?} is not configured as federated"))
    })?;
    config.validate().map_err(|error| HandlerError::permanent(error.to_string()))?;
    Ok((!config.paused).then_some(config))
}
