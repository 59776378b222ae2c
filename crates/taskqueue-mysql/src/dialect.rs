//! MySQL and MariaDB as the calls see them: connections, the literal statements, and what is remembered of them. What the
//! statements are is `claim.rs`'s business, which calls there are that of `calls.rs`.

use std::sync::Arc;

use taskqueue_sql::cursor::Cursors;
use taskqueue_sql::{Options, Sharding, Unsettled};

use crate::MysqlConfig;
use crate::answers::Answers;
use crate::claim::Literal;
use crate::config::Source;
use crate::engine::Engine;
use crate::flavour::MysqlFlavour;
use crate::transaction::Connections;

/// MySQL or MariaDB behind [`SqlQueue`](taskqueue_sql::SqlQueue).
#[derive(Debug)]
pub(crate) struct MysqlDialect {
    connections: Connections,
    pub(crate) options: Options,
    pub(crate) flavour: MysqlFlavour,
    literal: Literal,
    cursors: Cursors,
    sharding: Sharding,
    answers: Answers,
    unsettled: Arc<Unsettled>,
    /// Whether nobody else uses the pool.
    pub(crate) owns_pool: bool,
    pub(crate) contention_retries_max: u32,
}

impl MysqlDialect {
    pub(crate) fn new(
        connections: Connections,
        engine: Engine,
        config: &MysqlConfig,
        sharding: Sharding,
        unsettled: Arc<Unsettled>,
    ) -> Self {
        Self {
            connections,
            options: config.options.clone(),
            flavour: MysqlFlavour::new(&config.testing.now_sql),
            literal: Literal::new(&config.options.table, &config.testing.now_sql),
            cursors: Cursors::new(config.testing.scanning),
            sharding,
            unsettled,
            answers: Answers { engine, statement_timeout: config.statement_timeout },
            owns_pool: matches!(config.source, Source::Url(_)),
            contention_retries_max: config.contention_retries_max,
        }
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    pub(crate) fn sharding(&self) -> &Sharding {
        &self.sharding
    }

    pub(crate) fn engine(&self) -> Engine {
        self.answers.engine
    }

    pub(crate) fn answers(&self) -> Answers {
        self.answers
    }

    pub(crate) fn literal(&self) -> &Literal {
        &self.literal
    }

    pub(crate) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// Whether the dialect is told of each new connection, and so of a server that took over from another. A proxy of Vitess
    /// keeps its connections then.
    pub(crate) fn is_told_of_connections(&self) -> bool {
        self.owns_pool && self.engine() != Engine::Vitess
    }

    pub(crate) fn unsettled(&self) -> &Unsettled {
        &self.unsettled
    }
}
