//! Where the servers of the conformance suite come from: a URL in the environment, else a container of an image that
//! is here or that a registry has. What is asked of a server is the suite's affair.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process;
use crate::workspace::Workspace;

/// A backend that needs a server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The backend.
    pub(crate) name: &'static str,
    /// The variable that holds the URL of a server to use, and that tells the suite which one it is given.
    pub(crate) variable: &'static str,
    /// The images that are tested, oldest first.
    pub(crate) images: &'static [&'static str],
}

/// A server that a suite can be run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Where it came from: `postgres:17`, or the name of the variable.
    pub(crate) origin: String,
    /// Where it is.
    pub(crate) url: String,
}

/// The servers of one backend, or why there is none; containers are removed when this is dropped.
pub(crate) struct Servers {
    /// What can be used.
    pub(crate) found: Vec<Server>,
    /// What cannot, and how to get it.
    pub(crate) missing: Vec<String>,
    _containers: Option<Containers>,
}

impl Servers {
    /// Finds the servers of a backend, starting containers where no URL is given.
    pub(crate) fn find(recipe: &Recipe) -> Result<Self> {
        if let Ok(url) = std::env::var(recipe.variable) {
            let server = Server { origin: recipe.variable.to_owned(), url };
            return Ok(Self { found: vec![server], missing: Vec::new(), _containers: None });
        }
        let (here, missing): (Vec<&str>, Vec<&str>) = recipe.images.iter().partition(|image| is_here(image));
        let missing = missing.into_iter().map(|image| how_to_get(recipe, image)).collect();
        if here.is_empty() {
            return Ok(Self { found: Vec::new(), missing, _containers: None });
        }
        let mut containers = Containers::start(recipe, &here)?;
        let found = containers.ready(here.len())?;
        Ok(Self { found, missing, _containers: Some(containers) })
    }
}

fn how_to_get(recipe: &Recipe, image: &str) -> String {
    format!(
        "{}: no server. Set {} to the URL of one, or have a Docker engine with the image {image} \
         (pulled from a registry, or built by `cargo xtask images {image}`)",
        recipe.name, recipe.variable
    )
}

/// Whether an image is here, pulling it if a registry answers.
fn is_here(image: &str) -> bool {
    let docker = |arguments: &[&str]| {
        let mut command = Command::new("docker");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    docker(&["image", "inspect", image]) || docker(&["pull", "--quiet", image])
}

/// Builds images from Debian packages. Answers whether that succeeded.
pub(crate) fn build_images(workspace: &Workspace, images: &[String]) -> Result<bool> {
    process::succeeds(
        Command::new(workspace.root.join("xtask/images/build.sh")).args(images).stdin(Stdio::null()),
    )
}

/// The program that holds the containers: it removes them when its standard input ends, which is when this is
/// dropped or this process dies.
struct Containers {
    holder: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    stdin: Option<ChildStdin>,
}

impl Containers {
    fn start(recipe: &Recipe, images: &[&str]) -> Result<Self> {
        let mut command = process::cargo();
        command.args(["run", "--quiet", "--package", "taskqueue-servers", "--"]);
        command.args(images.iter().map(|image| format!("{}={image}", recipe.name)));
        let mut holder =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start containers")?;
        let stdin = holder.stdin.take();
        let stdout = holder.stdout.take().expect("stdout is piped");
        Ok(Self { holder, lines: BufReader::new(stdout).lines(), stdin })
    }

    fn ready(&mut self, count: usize) -> Result<Vec<Server>> {
        #[derive(Deserialize)]
        struct Ready {
            image: String,
            url: String,
        }
        let mut servers = Vec::with_capacity(count);
        for line in self.lines.by_ref().take(count) {
            let Ready { image, url } = serde_json::from_str(&line?).context("a container's line")?;
            servers.push(Server { origin: image, url });
        }
        if servers.len() < count {
            bail!("only {} of {count} containers became ready", servers.len());
        }
        Ok(servers)
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.holder.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_server_is_told_how_to_get_one() {
        let recipe =
            Recipe { name: "postgres", variable: "TASKQUEUE_POSTGRES_URL", images: &["postgres:17"] };
        let said = how_to_get(&recipe, "postgres:17");
        assert!(
            said.contains("TASKQUEUE_POSTGRES_URL") && said.contains("cargo xtask images postgres:17"),
            "{said}"
        );
    }
}
