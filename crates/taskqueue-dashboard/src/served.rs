//! What requests are answered from, put together once. It answers none.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;

use crate::access::Access;
use crate::asked::Asked;
use crate::payloads::Payloads;
use crate::statistics::Statistics;
use crate::workers;

/// Gives the text of the metrics page.
pub(crate) type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What requests are answered from.
pub(crate) struct Served {
    pub(crate) asked: Asked,
    pub(crate) statistics: Statistics,
    pub(crate) workers: workers::Read,
    pub(crate) access: Access,
    pub(crate) payloads: Payloads,
    pub(crate) page_size: usize,
    pub(crate) metrics: Option<Metrics>,
}

/// What a handler gets of it.
pub(crate) type Here = State<Arc<Served>>;

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("asked", &self.asked)
            .field("access", &self.access)
            .field("payloads", &self.payloads)
            .field("page_size", &self.page_size)
            .finish_non_exhaustive()
    }
}
