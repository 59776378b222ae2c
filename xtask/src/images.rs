//! Getting the images of servers: they are here, a registry has them, or they are built from Debian packages. What is
//! run in them is not its affair.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// Where the images that can be built here are listed.
const BUILD: &str = "xtask/images/build.sh";
/// The image that no registry has under this name; where a registry answers it is built upon Debian's.
const POOLER: &str = "pgbouncer:1";

/// Whether images may be built where no registry answers; it takes about a minute an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Building {
    Allowed,
    Refused,
}

/// A Docker engine that answers.
pub(crate) struct Engine<'a> {
    workspace: &'a Workspace,
    building: Building,
    /// Set once a registry was asked for and nothing answered: it is not asked again.
    is_offline: bool,
}

/// What became of a pull.
#[derive(Debug, PartialEq, Eq)]
enum Pull {
    Done,
    /// The registry answered, and has no such image or does not give it.
    Refused,
    /// No registry answered.
    Offline,
}

impl<'a> Engine<'a> {
    /// The engine, or why there is none.
    pub(crate) fn find(workspace: &'a Workspace, building: Building) -> Result<Self, String> {
        let mut version = Command::new("docker");
        version.args(["version", "--format", "{{.Server.Version}}"]).stdin(Stdio::null());
        match process::output(&mut version) {
            Ok(_) => Ok(Self { workspace, building, is_offline: false }),
            Err(_) => Err("no Docker engine answers".to_owned()),
        }
    }

    /// Sees to it that an image is here, or says why it cannot be.
    pub(crate) fn get(&mut self, image: &str) -> Result<(), String> {
        if is_here(image) {
            return Ok(());
        }
        let pulled = self.pull(image);
        if pulled == Pull::Done {
            return Ok(());
        }
        let built = match (pulled, self.building) {
            (Pull::Refused, _) if image == POOLER => self.build_upon_debian(),
            (_, Building::Allowed) if can_build() && self.has_recipe(image) => self.build(image),
            (Pull::Refused, _) => return Err(format!("no registry has the image {image}")),
            _ => return Err(format!("the image {image} is not here and no registry answers")),
        };
        match built {
            Ok(true) if is_here(image) => Ok(()),
            Ok(_) => Err(format!("the image {image} could not be built")),
            Err(error) => Err(format!("the image {image} could not be built: {error:#}")),
        }
    }

    fn pull(&mut self, image: &str) -> Pull {
        if self.is_offline {
            return Pull::Offline;
        }
        println!("images: pulling {image}");
        let mut pull = Command::new("docker");
        let pull = pull.args(["pull", "--quiet", image]).stdin(Stdio::null()).output();
        let pulled = match pull {
            Ok(output) if output.status.success() => Pull::Done,
            Ok(output) => refusal(&String::from_utf8_lossy(&output.stderr)),
            Err(_) => Pull::Offline,
        };
        self.is_offline = pulled == Pull::Offline;
        pulled
    }

    fn has_recipe(&self, image: &str) -> bool {
        let script = fs::read_to_string(self.workspace.root.join(BUILD)).unwrap_or_default();
        recipes(&script).any(|known| known == image)
    }

    fn build(&self, image: &str) -> Result<bool> {
        println!(
            "images: no registry answers; building {image} from Debian packages, which takes about a minute"
        );
        build(self.workspace, &[image.to_owned()])
    }

    fn build_upon_debian(&self) -> Result<bool> {
        println!("images: building {POOLER} upon Debian's image");
        let folder = self.workspace.root.join("xtask/images");
        let mut command = Command::new("docker");
        command.args(["build", "--quiet", "--tag", POOLER, "--file"]);
        command.arg(folder.join("pgbouncer.Dockerfile")).arg(&folder).stdin(Stdio::null());
        process::succeeds(&mut command)
    }
}

/// `cargo xtask images`: builds images from Debian packages. Answers whether that succeeded.
pub(crate) fn build(workspace: &Workspace, images: &[String]) -> Result<bool> {
    process::succeeds(Command::new(workspace.root.join(BUILD)).args(images).stdin(Stdio::null()))
        .context("build images")
}

fn is_here(image: &str) -> bool {
    let mut inspect = Command::new("docker");
    inspect
        .args(["image", "inspect", image])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    inspect.status().is_ok_and(|status| status.success())
}

/// A registry that answers speaks of the image; anything else is the network's.
fn refusal(stderr: &str) -> Pull {
    const SPOKEN: [&str; 5] =
        ["not found", "manifest unknown", "access denied", "denied:", "toomanyrequests"];
    if SPOKEN.iter().any(|word| stderr.contains(word)) { Pull::Refused } else { Pull::Offline }
}

/// Building installs packages into a folder as root.
fn can_build() -> bool {
    let is_root = process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    is_root && Path::new("/etc/debian_version").exists()
}

/// The images in the table of the script: `image|suite|packages|data folder`.
fn recipes(script: &str) -> impl Iterator<Item = &str> {
    let table = script.lines().filter(|line| line.matches('|').count() == 3 && !line.starts_with([' ', '#']));
    table.filter_map(|line| line.split('|').next()).filter(|image| image.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_answers_is_told_from_a_network_that_does_not() {
        let unknown = "Error response from daemon: manifest for postgres:99 not found: manifest unknown";
        assert_eq!(refusal(unknown), Pull::Refused);
        assert_eq!(refusal("pull access denied for pgbouncer, repository does not exist"), Pull::Refused);
        assert_eq!(refusal("dial tcp: lookup registry on 10.0.0.1:53: no such host"), Pull::Offline);
        assert_eq!(refusal("context deadline exceeded"), Pull::Offline);
    }

    #[test]
    fn the_images_that_can_be_built_are_those_of_the_scripts_table() {
        let script = "# image | suite | packages | data\nrecipes='\npostgres:17|trixie|postgresql-17|/data\n\
            pgbouncer:1|trixie|pgbouncer|\n'\n  a | b | c | d\n";
        assert_eq!(recipes(script).collect::<Vec<_>>(), ["postgres:17", "pgbouncer:1"]);
    }
}
