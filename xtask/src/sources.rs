//! Which servers a backend's suite is run on: a URL in the environment, else containers, else installed programs. It
//! decides and starts nothing.

use std::path::{Path, PathBuf};

use crate::backends::{Backend, Needs};

/// Where a server comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The URL in the backend's variable.
    Variable,
    /// A container of this image.
    Image(String),
    /// The installed programs in this folder.
    Programs(PathBuf),
}

/// A server that is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The image, or the backend where it has no server at all.
    pub(crate) server: String,
    /// Why, and how to get it.
    pub(crate) reason: String,
    /// Whether it was asked for by name: then the run fails.
    pub(crate) is_asked_for: bool,
}

/// The servers of one backend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) backend: &'static Backend,
    pub(crate) found: Vec<Source>,
    pub(crate) missing: Vec<Missing>,
}

/// What this machine has and what was asked for.
pub(crate) struct Situation<'a> {
    /// Whether the backend's variable is set.
    pub(crate) has_url: bool,
    /// The images that are asked for by name, in place of the backend's own.
    pub(crate) images: &'a [&'a str],
    /// Whether the backend is asked for by name.
    pub(crate) is_asked_for: bool,
    /// The folders in which the server's programs are installed.
    pub(crate) programs: Vec<PathBuf>,
}

impl Sources {
    /// Chooses; `get` sees to it that an image is here, or says why it is not.
    pub(crate) fn choose(
        backend: &'static Backend,
        needs: &Needs,
        situation: Situation<'_>,
        mut get: impl FnMut(&str) -> Result<(), String>,
    ) -> Self {
        let Situation { has_url, images, is_asked_for, programs } = situation;
        let mut sources = Self { backend, found: Vec::new(), missing: Vec::new() };
        // Images that are named say what is to be tested; a URL does not.
        if has_url && images.is_empty() {
            sources.found.push(Source::Variable);
            return sources;
        }
        let wanted = if images.is_empty() { needs.images } else { images };
        for image in wanted {
            match needs.behind.map_or(Ok(()), &mut get).and_then(|()| get(image)) {
                Ok(()) => sources.found.push(Source::Image((*image).to_owned())),
                Err(why) => sources.missing.push(Missing {
                    server: (*image).to_owned(),
                    reason: how_to_get(needs, image, &why),
                    is_asked_for: !images.is_empty(),
                }),
            }
        }
        if sources.found.is_empty() && images.is_empty() {
            sources.found.extend(programs.into_iter().map(Source::Programs));
        }
        if sources.found.is_empty() && is_asked_for {
            sources.missing.iter_mut().for_each(|missing| missing.is_asked_for = true);
        }
        sources
    }
}

impl Source {
    /// What it is called in the table.
    pub(crate) fn name(&self, needs: &Needs) -> String {
        match self {
            Self::Variable => needs.variable.to_owned(),
            Self::Image(image) => image.clone(),
            Self::Programs(folder) => folder.display().to_string(),
        }
    }
}

fn how_to_get(needs: &Needs, image: &str, why: &str) -> String {
    let installed = needs.program.map_or(String::new(), |program| format!(", or install {program}"));
    format!(
        "{why}. Set {} to the URL of a server, or have a Docker engine with the image {image} (pulled from a \
         registry, or built by `cargo xtask images`){installed}",
        needs.variable
    )
}

/// The folders that hold this program: Debian keeps each version of PostgreSQL in one of its own.
pub(crate) fn installed(program: &str) -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders.iter().filter_map(|folder| home(&folder.join(program))) {
        if !found.contains(&folder) {
            found.push(folder);
        }
    }
    found
}

/// The folder of a server's program. MariaDB installs a link to itself under MySQL's name, which is none; a link to
/// PostgreSQL's is not where its other programs are.
fn home(program: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(program).ok()?;
    let folder = real.parent()?.to_owned();
    let is_whole = !program.ends_with("postgres") || folder.join("initdb").exists();
    (is_whole && real.file_name() == program.file_name()).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::named;

    fn situation<'a>() -> Situation<'a> {
        Situation { has_url: false, images: &[], is_asked_for: false, programs: Vec::new() }
    }

    fn choose(name: &str, situation: Situation<'_>, here: &[&str]) -> Sources {
        let backend = named(name).expect("it exists");
        let needs = backend.server.as_ref().expect("it needs a server");
        let get = |image: &str| if here.contains(&image) { Ok(()) } else { Err("no engine".to_owned()) };
        Sources::choose(backend, needs, situation, get)
    }

    fn image(image: &str) -> Source {
        Source::Image(image.to_owned())
    }

    #[test]
    fn a_url_comes_before_containers_and_containers_before_programs() {
        let programs = vec![PathBuf::from("/opt")];
        let all = Situation { has_url: true, programs: programs.clone(), ..situation() };
        assert_eq!(choose("mysql", all, &["mysql:9.7"]).found, [Source::Variable]);
        let both = Situation { programs: programs.clone(), ..situation() };
        assert_eq!(choose("mysql", both, &["mysql:9.7"]).found, [image("mysql:9.7")]);
        let only = Situation { programs, ..situation() };
        assert_eq!(choose("mysql", only, &[]).found, [Source::Programs("/opt".into())]);
    }

    #[test]
    fn images_that_are_named_replace_the_backends_own_and_come_before_a_url() {
        let named = Situation { has_url: true, images: &["postgres:16"], ..situation() };
        let sources = choose("postgres", named, &["postgres:15", "postgres:16"]);
        assert_eq!((sources.found, sources.missing), (vec![image("postgres:16")], vec![]));
    }

    #[test]
    fn an_image_that_is_not_to_be_had_is_listed_with_its_reason() {
        let sources = choose("postgres", situation(), &["postgres:17"]);
        assert_eq!(sources.found, [image("postgres:17")]);
        let missing: Vec<_> = sources.missing.iter().map(|it| it.server.as_str()).collect();
        assert_eq!(missing, ["postgres:15", "postgres:18"]);
        let reason = &sources.missing[0].reason;
        assert!(reason.starts_with("no engine. Set TASKQUEUE_POSTGRES_URL"), "{reason}");
        assert!(reason.contains("cargo xtask images"), "{reason}");
        assert!(sources.missing.iter().all(|it| !it.is_asked_for), "one version of the backend ran");
    }

    #[test]
    fn what_was_asked_for_by_name_and_is_not_to_be_had_fails_the_run() {
        let backend = Situation { is_asked_for: true, ..situation() };
        assert!(choose("mysql", backend, &[]).missing[0].is_asked_for);
        let image = Situation { images: &["mysql:8.4"], ..situation() };
        assert!(choose("mysql", image, &[]).missing[0].is_asked_for);
        assert!(!choose("mysql", situation(), &[]).missing[0].is_asked_for);
    }

    #[test]
    fn a_pooler_needs_the_server_behind_as_well() {
        assert_eq!(choose("pgbouncer", situation(), &["pgbouncer:1"]).found, []);
        assert_eq!(
            choose("pgbouncer", situation(), &["pgbouncer:1", "postgres:17"]).found,
            [image("pgbouncer:1")]
        );
    }
}
