//! The object stores that the file of `--config` names. It owns how an address and credentials become a store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::federation::{ExternalBucket, ExternalStores};
use taskqueue_handlers::store::{ObjectStore, S3Config, S3Credentials, S3Store};

use super::config::{HandlersFile, StoreAddress};
use crate::failure::Outcome;

/// The store that handlers work on.
pub(super) fn local(file: &HandlersFile) -> Outcome<Arc<dyn ObjectStore>> {
    let address = file.config.store.as_ref();
    let address = address.ok_or_else(|| file.wrong("store", "expected the section [store]"))?;
    open(file, "store", address)
}

/// The store at an address, which stands in the section `key`.
pub(super) fn open(file: &HandlersFile, key: &str, address: &StoreAddress) -> Outcome<Arc<dyn ObjectStore>> {
    let credentials = credentials(file, &address.credentials)?;
    let mut config = S3Config::new(address.endpoint.clone(), credentials);
    config.region.clone_from(&address.region);
    Ok(Arc::new(S3Store::new(config).map_err(|error| file.wrong(key, error))?))
}

/// The way to every external store whose credentials the file has.
pub(super) fn external(file: &HandlersFile) -> Outcome<External> {
    let names = file.config.credentials.keys();
    let credentials = names.map(|name| Ok((name.clone(), credentials(file, name)?)));
    Ok(External { credentials: credentials.collect::<Outcome<_>>()?, open: Mutex::default() })
}

fn credentials(file: &HandlersFile, name: &str) -> Outcome<S3Credentials> {
    let key = format!("credentials.{name}");
    let found = file.config.credentials.get(name).ok_or_else(|| file.wrong(&key, "expected this section"))?;
    let secret = |field: &str, secret| file.secret(&format!("{key}.{field}"), secret);
    Ok(S3Credentials {
        access_key_id: secret("access_key_id", &found.access_key_id)?,
        secret_access_key: secret("secret_access_key", &found.secret_access_key)?,
        session_token: found
            .session_token
            .as_ref()
            .map(|token| secret("session_token", token))
            .transpose()?,
    })
}

/// External stores, each opened once.
pub(super) struct External {
    credentials: BTreeMap<String, S3Credentials>,
    open: Mutex<BTreeMap<StoreAddress, Arc<dyn ObjectStore>>>,
}

#[async_trait]
impl ExternalStores for External {
    async fn open(&self, external: &ExternalBucket) -> Result<Arc<dyn ObjectStore>, HandlerError> {
        let address = StoreAddress {
            endpoint: Some(external.endpoint.clone()),
            region: external.region.clone(),
            credentials: external.credentials.clone(),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(&address) {
            return Ok(Arc::clone(store));
        }
        let name = &external.credentials;
        let credentials = self.credentials.get(name);
        let credentials = credentials.ok_or_else(|| {
            HandlerError::permanent(format!("this worker has no credentials named {name:?}"))
        })?;
        let mut config = S3Config::new(address.endpoint.clone(), credentials.clone());
        config.region.clone_from(&address.region);
        let store = S3Store::new(config);
        let store = store.map_err(|error| HandlerError::permanent(format!("{external}: {error}")))?;
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        open.insert(address, Arc::clone(&store));
        Ok(store)
    }
}
