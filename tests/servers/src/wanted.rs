//! What is asked for on the command line. Pure.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::recipe::Recipe;

/// A server that is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// As it was written.
    pub(crate) text: String,
    pub(crate) recipe: &'static Recipe,
    pub(crate) source: Source,
}

/// Where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A container, and the image of the server that a pooler stands in front of.
    Image { image: String, behind: Option<String> },
    /// Installed programs, in this folder.
    Programs(PathBuf),
}

impl Wanted {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let Some((backend, source)) = text.split_once('=') else {
            bail!("{text:?} is neither BACKEND=IMAGE nor BACKEND=programs:FOLDER")
        };
        let recipe =
            Recipe::of_backend(backend).with_context(|| format!("there is no recipe for {backend}"))?;
        let source = match (source.strip_prefix("programs:"), source.split_once('@')) {
            (Some(folder), _) => Source::Programs(folder.into()),
            (None, Some((image, behind))) => {
                Source::Image { image: image.to_owned(), behind: Some(behind.to_owned()) }
            }
            (None, None) => Source::Image { image: source.to_owned(), behind: None },
        };
        Ok(Self { text: text.to_owned(), recipe, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_a_pooler_and_installed_programs_can_be_asked_for() {
        let source = |text| Wanted::parse(text).expect("it can be asked for").source;
        let image = |image: &str, behind: Option<&str>| Source::Image {
            image: image.into(),
            behind: behind.map(Into::into),
        };
        assert_eq!(source("mysql=mysql:9.7"), image("mysql:9.7", None));
        assert_eq!(source("pgbouncer=pgbouncer:1@postgres:17"), image("pgbouncer:1", Some("postgres:17")));
        assert_eq!(source("postgres=programs:/opt/bin"), Source::Programs("/opt/bin".into()));
    }

    #[test]
    fn what_has_no_recipe_is_refused_by_name() {
        let error = Wanted::parse("oracle=oracle:23").expect_err("there is none");
        assert_eq!(error.to_string(), "there is no recipe for oracle");
        assert!(Wanted::parse("postgres:17").is_err());
    }
}
