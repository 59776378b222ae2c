//! The documents that the file of `--config` names: a folder, or a table of a database. It owns how the section becomes
//! a store of documents; what they say is the business of those who read them.

use taskqueue_handlers::documents::{Documents, FolderDocuments};

#[cfg(feature = "sql")]
use super::config::Secret;
use super::config::{DocumentsPlace, HandlersFile};
#[cfg(feature = "sql")]
use crate::failure::Code;
use crate::failure::Outcome;

/// The documents.
pub(super) async fn open(file: &HandlersFile) -> Outcome<Documents> {
    let place = file.config.documents.as_ref();
    let place = place.ok_or_else(|| file.wrong("documents", "expected the section [documents]"))?;
    let Some(folder) = &place.folder else { return database(file, place).await };
    if !folder.is_dir() {
        return Err(file.wrong("documents.folder", format!("there is no folder {}", folder.display())));
    }
    Ok(Documents::new(FolderDocuments::new(folder)))
}

#[cfg(feature = "sql")]
async fn database(file: &HandlersFile, place: &DocumentsPlace) -> Outcome<Documents> {
    use taskqueue_handlers::documents::SqlDocuments;

    const KEY: &str = "documents.database";
    let url = place.database.as_ref().map(|secret: &Secret| file.secret(KEY, secret)).transpose()?;
    let url = url.ok_or_else(|| file.wrong(KEY, "expected a database"))?;
    let mut documents = SqlDocuments::open(&url).map_err(|error| file.wrong(KEY, error))?;
    if let Some(table) = &place.table {
        documents = documents.table(table).map_err(|error| file.wrong("documents.table", error))?;
    }
    let made = documents.migrate().await;
    made.map_err(|error| {
        let code = if error.is_permanent() { Code::Failure } else { Code::Temporary };
        file.wrong(KEY, error).with_code(code)
    })?;
    Ok(Documents::new(documents))
}

#[cfg(not(feature = "sql"))]
#[expect(clippy::unused_async, reason = "it stands in for one that connects")]
async fn database(file: &HandlersFile, _: &DocumentsPlace) -> Outcome<Documents> {
    let message = "this program was built without documents in databases: build it with `--features sql`";
    Err(file.wrong("documents.database", message))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    async fn said(text: &str) -> String {
        let file = HandlersFile::parse(Path::new("handlers.toml"), text).expect("its form is right");
        let opened = open(&file).await;
        opened.err().and_then(|failure| failure.message().map(str::to_owned)).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_refused_rather_than_read_as_empty() {
        let expected = "handlers.toml: documents.folder: there is no folder /no/such/folder";
        assert_eq!(said("[documents]\nfolder = \"/no/such/folder\"\n").await, expected);
    }

    #[cfg(not(feature = "sql"))]
    #[tokio::test]
    async fn a_database_is_refused_by_a_program_that_was_built_without_it() {
        let expected = "handlers.toml: documents.database: this program was built without documents in databases: \
                        build it with `--features sql`";
        assert_eq!(said("[documents]\ndatabase = { env = \"URL\" }\n").await, expected);
    }

    #[cfg(feature = "sql")]
    #[tokio::test]
    async fn a_database_gets_its_table_and_keeps_what_is_written() {
        use taskqueue_handlers::federation::{ExternalBucket, FederationConfig};

        let folder = tempfile::tempdir().expect("a folder");
        let url = folder.path().join("url");
        let database = folder.path().join("documents.db");
        std::fs::write(&url, format!("sqlite:{}?mode=rwc\n", database.display())).expect("writable");
        let text = format!("[documents]\ndatabase = {{ file = {url:?} }}\ntable = \"handlers_documents\"\n");
        let file = HandlersFile::parse(Path::new("handlers.toml"), &text).expect("valid");
        let external = ExternalBucket {
            endpoint: "https://s3.example.org".into(),
            region: "r".into(),
            bucket: "old".into(),
            credentials: "partner".into(),
        };
        let written = FederationConfig::new("photos", external);
        open(&file).await.expect("it opens").write("photos", &written).await.expect("it writes");
        let found = open(&file).await.expect("it opens again").read::<FederationConfig>("photos").await;
        assert_eq!(found.expect("it reads"), Some(written));
        let refused = said(&text.replace("handlers_documents", "Handlers Documents")).await;
        assert!(refused.starts_with("handlers.toml: documents.table: "), "{refused}");
    }
}
