//! A way to the server that a test can break, and that can lose or hold what answers a request with a given word. It knows no
//! protocol beyond finding that word.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnectOptions;
use taskqueue_conformance::{Fate, Proxy as Network};

use crate::support::server;

/// Words of requests to come; each is forgotten once it was met.
#[derive(Debug, Default)]
struct Words {
    /// Of the request whose reply is lost, with its connection.
    robbed: Option<&'static str>,
    /// Of the request whose reply is the last thing that is let through.
    last: Option<&'static str>,
}

/// A proxy in front of the server.
pub(crate) struct Proxy {
    network: Network,
    words: Arc<Mutex<Words>>,
}

impl Proxy {
    /// One that lets everything through.
    pub(crate) async fn new() -> Self {
        let (words, to) = (Arc::<Mutex<Words>>::default(), server());
        let upstream = format!("{}:{}", to.get_host(), to.get_port());
        let met = Arc::clone(&words);
        let network = Network::with_rules(&upstream, move |_, request| lock(&met).fate(request)).await;
        Self { network, words }
    }

    /// The same database, by this way.
    pub(crate) fn options(&self, options: PgConnectOptions) -> PgConnectOptions {
        options.host("127.0.0.1").port(self.address().port())
    }

    /// The next request that holds this word reaches the server and is carried out; the reply does not come back.
    pub(crate) fn lose_the_reply_to(&self, word: &'static str) {
        lock(&self.words).robbed = Some(word);
    }

    /// Lets nothing through any more once the next request that holds this word has been answered.
    pub(crate) fn hold_after(&self, word: &'static str) {
        lock(&self.words).last = Some(word);
    }

    /// Whether a reply was lost.
    pub(crate) fn has_lost_it(&self) -> bool {
        lock(&self.words).robbed.is_none()
    }
}

impl Deref for Proxy {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

impl Words {
    fn fate(&mut self, request: &[u8]) -> Fate {
        let holds = |word: &mut &'static str| request.windows(word.len()).any(|part| part == word.as_bytes());
        if self.robbed.take_if(holds).is_some() {
            return Fate::CutAnswer;
        }
        match self.last.take_if(holds) {
            Some(_) => Fate::HoldAfterAnswer,
            None => Fate::Pass,
        }
    }
}

fn lock(words: &Mutex<Words>) -> MutexGuard<'_, Words> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}
