//! Where servers come from: a URL that was given, or a container with durable settings that lives as long as this
//! does. It knows no queue; the program `taskqueue-servers` knows the containers.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

/// A server that is up.
pub(crate) struct Server {
    /// Where it is. It may hold a password: it is never shown.
    pub(crate) url: String,
    _container: Option<Container>,
}

/// The server of this kind at the URL in `variable`, or in a container of `image`. `None`: there is no such
/// variable and no Docker engine that has the image.
///
/// # Errors
/// When a container does not become ready.
pub(crate) fn find(backend: &str, variable: &str, image: &str) -> Result<Option<Server>> {
    if let Ok(url) = std::env::var(variable) {
        return Ok(Some(Server { url, _container: None }));
    }
    let mut inspect = Command::new("docker");
    inspect.args(["image", "inspect", image]).stdout(Stdio::null()).stderr(Stdio::null());
    if !inspect.status().is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let (url, container) = Container::start(backend, image)?;
    Ok(Some(Server { url, _container: Some(container) }))
}

/// The program that holds a container: it removes it when its standard input ends.
struct Container {
    holder: Child,
    stdin: Option<ChildStdin>,
}

impl Container {
    fn start(backend: &str, image: &str) -> Result<(String, Self)> {
        #[derive(Deserialize)]
        struct Ready {
            url: String,
        }
        let mut holder = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["run", "--quiet", "--package", "taskqueue-servers", "--"])
            .arg(format!("{backend}-durable={image}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a container")?;
        let stdout = holder.stdout.take().context("stdout is piped")?;
        let container = Self { stdin: holder.stdin.take(), holder };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Ready { url } =
            serde_json::from_str(&line).with_context(|| format!("{image} did not become ready"))?;
        Ok((url, container))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.holder.wait().ok();
    }
}
