//! The peers that there are, each in a file of its own and behind a feature of its name.

#[cfg(feature = "apalis")]
mod apalis;
#[cfg(feature = "apalis-mysql")]
mod apalis_mysql;
#[cfg(feature = "apalis-sqlite")]
mod apalis_sqlite;
#[cfg(feature = "awa")]
mod awa;
#[cfg(feature = "fang")]
mod fang;
#[cfg(feature = "graphile_worker")]
mod graphile_worker;
#[cfg(feature = "pgmq")]
mod pgmq;
#[cfg(feature = "sqlxmq")]
mod sqlxmq;
mod taskqueue;
#[cfg(feature = "underway")]
mod underway;

use crate::peer::Entry;

/// Every peer, whether it is built or not.
pub(crate) const NAMES: [&str; 10] = [
    OURS,
    "graphile_worker",
    "sqlxmq",
    "pgmq",
    "apalis",
    "apalis-mysql",
    "apalis-sqlite",
    "fang",
    "underway",
    "awa",
];

/// What we are called, on each engine.
pub(crate) const OURS: &str = "taskqueue";

/// The peers that are built.
pub(crate) fn all() -> Vec<Entry> {
    vec![
        taskqueue::POSTGRES,
        taskqueue::MYSQL,
        taskqueue::SQLITE,
        #[cfg(feature = "graphile_worker")]
        graphile_worker::ENTRY,
        #[cfg(feature = "sqlxmq")]
        sqlxmq::ENTRY,
        #[cfg(feature = "pgmq")]
        pgmq::ENTRY,
        #[cfg(feature = "apalis")]
        apalis::ENTRY,
        #[cfg(feature = "apalis-mysql")]
        apalis_mysql::ENTRY,
        #[cfg(feature = "apalis-sqlite")]
        apalis_sqlite::ENTRY,
        #[cfg(feature = "fang")]
        fang::ENTRY,
        #[cfg(feature = "underway")]
        underway::ENTRY,
        #[cfg(feature = "awa")]
        awa::ENTRY,
    ]
}

/// Whether a peer is built.
pub(crate) fn is_built(name: &str) -> bool {
    all().iter().any(|entry| entry.name == name)
}

/// What a table calls a peer: its package and the version that was built.
pub(crate) fn title(entry: &Entry) -> String {
    let head = format!("name = \"{}\"\nversion = \"", entry.package);
    let version =
        include_str!("../Cargo.lock").split_once(&head).and_then(|(_, rest)| rest.split('"').next());
    format!("{} {}", entry.package, version.unwrap_or("of an unknown version"))
}

/// Runs a future that the compiler cannot prove to be `Send`, because it borrows an executor.
#[cfg(any(feature = "awa", feature = "underway"))]
fn in_place<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// The files of a package's folder `migrations`, in order, for those that can only be copied. Cargo knows where it is.
#[cfg(any(feature = "fang", feature = "sqlxmq"))]
fn migrations(package: &str, folder: &str, ending: &str) -> anyhow::Result<Vec<String>> {
    use anyhow::Context;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let arguments = ["metadata", "--format-version", "1", "--manifest-path", manifest];
    let output = std::process::Command::new(cargo).args(arguments).output().context("run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let packages = metadata["packages"].as_array().context("there are packages")?;
    let found = packages.iter().find(|it| it["name"] == package).context("the package is a dependency")?;
    let manifest = std::path::Path::new(found["manifest_path"].as_str().context("it has a manifest")?);
    let mut paths = Vec::new();
    let mut folders = vec![manifest.with_file_name(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(|path| Ok(std::fs::read_to_string(path)?)).collect()
}
