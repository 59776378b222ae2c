//! Where the notification configurations of buckets are known from: the port, and a cache in front of it. It knows no
//! destination.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::NotificationConfiguration;
use crate::HandlerError;

/// Where it is known who is told of what happens in a bucket.
#[async_trait]
pub trait NotificationConfigStore: Send + Sync + 'static {
    /// The configuration of a bucket; `None` when nobody is to be told of anything.
    ///
    /// # Errors
    /// When it cannot be said now, and permanent for a configuration that makes no sense.
    async fn get(&self, bucket: &str) -> Result<Option<Arc<NotificationConfiguration>>, HandlerError>;
}

#[async_trait]
impl<S: NotificationConfigStore + ?Sized> NotificationConfigStore for Arc<S> {
    async fn get(&self, bucket: &str) -> Result<Option<Arc<NotificationConfiguration>>, HandlerError> {
        (**self).get(bucket).await
    }
}

/// Configurations that are fixed when the worker starts.
#[async_trait]
impl NotificationConfigStore for BTreeMap<String, Arc<NotificationConfiguration>> {
    async fn get(&self, bucket: &str) -> Result<Option<Arc<NotificationConfiguration>>, HandlerError> {
        Ok(Self::get(self, bucket).cloned())
    }
}

/// How many buckets a cache remembers.
const BUCKETS_MAX: usize = 10_000;

/// Asks a store at most once an age for each bucket, also for those that have no configuration. An answer is never
/// older than that: when the store fails, the cache does too rather than go on with what may have changed.
#[derive(Debug)]
pub struct CachedConfigs<S> {
    store: S,
    age_max: Duration,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    since: Instant,
    configuration: Option<Arc<NotificationConfiguration>>,
}

impl<S> CachedConfigs<S> {
    /// A cache of `store` whose answers are at most `age_max` old.
    pub fn new(store: S, age_max: Duration) -> Self {
        Self { store, age_max, known: Mutex::default() }
    }

    fn known(&self, bucket: &str) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(bucket).filter(|known| known.since.elapsed() < self.age_max).cloned()
    }

    fn remember(&self, bucket: &str, entry: Known) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= BUCKETS_MAX {
            known.retain(|_, entry| entry.since.elapsed() < self.age_max);
        }
        if known.len() < BUCKETS_MAX {
            known.insert(bucket.to_owned(), entry);
        }
    }
}

#[async_trait]
impl<S: NotificationConfigStore> NotificationConfigStore for CachedConfigs<S> {
    async fn get(&self, bucket: &str) -> Result<Option<Arc<NotificationConfiguration>>, HandlerError> {
        if let Some(known) = self.known(bucket) {
            return Ok(known.configuration);
        }
        // Its age counts from before it was asked for.
        let since = Instant::now();
        let configuration = self.store.get(bucket).await?;
        self.remember(bucket, Known { since, configuration: configuration.clone() });
        Ok(configuration)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Knows one bucket, and counts how often it is asked.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    #[async_trait]
    impl NotificationConfigStore for Counting {
        async fn get(&self, bucket: &str) -> Result<Option<Arc<NotificationConfiguration>>, HandlerError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            match bucket {
                "broken" => Err(HandlerError::transient("not now")),
                bucket => Ok((bucket == "photos").then(Arc::default)),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_asked_for_once_an_age_whether_it_has_a_configuration_or_not() {
        let store = Arc::new(Counting::default());
        let cache = CachedConfigs::new(Arc::clone(&store), Duration::from_secs(30));
        for bucket in ["photos", "photos", "other", "other"] {
            assert_eq!(cache.get(bucket).await.unwrap().is_some(), bucket == "photos");
        }
        assert_eq!(store.0.load(Ordering::Relaxed), 2);
        tokio::time::advance(Duration::from_secs(30)).await;
        cache.get("photos").await.unwrap();
        assert_eq!(store.0.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_remembered() {
        let store = Arc::new(Counting::default());
        let cache = CachedConfigs::new(Arc::clone(&store), Duration::from_secs(30));
        assert!(cache.get("broken").await.is_err() && cache.get("broken").await.is_err());
        assert_eq!(store.0.load(Ordering::Relaxed), 2);
    }
}
