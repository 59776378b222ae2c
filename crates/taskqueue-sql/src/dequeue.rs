//! Claims: the transaction of one shard's part. How a claim finds its tasks is the dialect's business.

use async_trait::async_trait;
use taskqueue_core::{Claim, Shard, Shards};

use crate::operation::Operation;
use crate::{Access, Attempt, Claiming, Dialect, Failure};

/// Claims in one shard.
pub(crate) struct Dequeue {
    pub(crate) claiming: Claiming,
    pub(crate) shard: Shard,
    /// Nothing was there the last time: whether anything is now is found out before a claim begins.
    pub(crate) looks_first: bool,
}

#[async_trait]
impl<D: Dialect> Operation<D> for Dequeue {
    type Answer = Vec<Claim>;
    const NAME: &'static str = "dequeue";

    fn access(&self, _shards: Shards) -> Access {
        Access::Single
    }

    async fn at_once(&self, dialect: &D, _shards: Shards) -> Attempt<Option<Vec<Claim>>> {
        let sees_none = self.looks_first && dialect.sees_none(self.shard, &self.claiming).await?;
        Ok(sees_none.then(Vec::new))
    }

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<Vec<Claim>> {
        dialect.claim(connection, dialect.now(), self.shard, &self.claiming).await
    }

    fn rescue(&self, failure: Failure) -> Attempt<Vec<Claim>> {
        match failure {
            Failure::Partly(claims) => Ok(claims),
            failure => Err(failure),
        }
    }
}
