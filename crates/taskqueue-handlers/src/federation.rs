//! Federation: the objects of an external bucket are brought into a local one.

mod config;

pub use self::config::{
    Conflict, ExternalBucket, ExternalStores, FederationConfig, FederationConfigStore, OneStore,
};
