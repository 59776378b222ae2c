//! In place of `stores` in a program that was built without the feature `s3`: what needs a store is refused.

use std::sync::Arc;

use taskqueue_handlers::federation::OneStore;
use taskqueue_handlers::store::ObjectStore;

use super::config::{HandlersFile, StoreAddress};
use crate::failure::{Failure, Outcome};

pub(super) fn local(_file: &HandlersFile) -> Outcome<Arc<dyn ObjectStore>> {
    Err(refused())
}

pub(super) fn open(_: &HandlersFile, _key: &str, _: &StoreAddress) -> Outcome<Arc<dyn ObjectStore>> {
    Err(refused())
}

pub(super) fn external(_file: &HandlersFile) -> Outcome<OneStore> {
    Err(refused())
}

fn refused() -> Failure {
    Failure::usage("work: this program was built without object stores: build it with `--features s3`")
}
