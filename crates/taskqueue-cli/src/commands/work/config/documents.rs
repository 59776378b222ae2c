//! The sections of the file of `--config` on documents: where they are, and the restores that are told in them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use taskqueue_handlers::restore::RestorePolling;

use super::{HandlersFile, Secret};
use crate::failure::Outcome;

/// One place: a folder or a database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands::work) struct DocumentsPlace {
    /// The folder, which is there: with a misspelt one nobody would be told of anything.
    pub(in crate::commands::work) folder: Option<PathBuf>,
    /// The URL of the database.
    pub(in crate::commands::work) database: Option<Secret>,
    /// The table in it; none: `task_documents`.
    pub(in crate::commands::work) table: Option<String>,
}

/// How often a restore is looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::commands::work) struct Restore {
    pause_min_seconds: u64,
    pause_max_seconds: u64,
}

impl Default for Restore {
    fn default() -> Self {
        let RestorePolling { pause_min, pause_max } = RestorePolling::default();
        Self { pause_min_seconds: pause_min.as_secs(), pause_max_seconds: pause_max.as_secs() }
    }
}

impl Restore {
    pub(in crate::commands::work) fn polling(&self) -> RestorePolling {
        RestorePolling {
            pause_min: Duration::from_secs(self.pause_min_seconds),
            pause_max: Duration::from_secs(self.pause_max_seconds),
        }
    }
}

impl HandlersFile {
    pub(super) fn check_restore(&self) -> Outcome {
        let Restore { pause_min_seconds: least, pause_max_seconds: most } = self.config.restore;
        if least == 0 || least > most {
            let expected = format!("expected 1 to pause_max_seconds, which is {most}, found {least}");
            return Err(self.wrong("restore.pause_min_seconds", expected));
        }
        Ok(())
    }

    pub(super) fn check_documents(&self) -> Outcome {
        let Some(place) = &self.config.documents else { return Ok(()) };
        self.one_of("documents", ["folder", "database"], [place.folder.is_some(), place.database.is_some()])?;
        if place.table.is_some() && place.database.is_none() {
            return Err(self.wrong("documents.table", "it is for a database, and there is none"));
        }
        Ok(())
    }
}
