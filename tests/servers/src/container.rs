//! Servers in containers: each is published on 127.0.0.1 only, labelled with its owner, and waited for until it
//! answers. Removing them is the sweep's affair.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::StreamExt as _;
use testcontainers::bollard::models::{NetworkCreateRequest, PortBinding};
use testcontainers::bollard::query_parameters::LogsOptionsBuilder;
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{ExecCommand, ExecResult, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::time::{sleep, timeout};

use crate::answer::answers;
use crate::cluster::Cluster;
use crate::owner::{LABEL, Owner};
use crate::recipe::{BEHIND, Recipe};

/// The slowest first start on a busy machine of two cores took half a minute.
pub(crate) const START_MAX: Duration = Duration::from_secs(180);
pub(crate) const POLL: Duration = Duration::from_millis(100);
/// So much of its log says why a server does not work.
const LAST_LINES: usize = 20;

type Container = ContainerAsync<GenericImage>;
/// A container that is to be started.
pub(crate) type Request = ContainerRequest<GenericImage>;

/// A server in a container. The container is removed with this value, or by the sweep.
pub(crate) struct Server {
    pub(crate) url: String,
    container: Container,
}

/// What is asked for as containers.
pub(crate) struct Asked<'a> {
    pub(crate) recipe: &'static Recipe,
    pub(crate) image: &'a str,
    pub(crate) owner: &'a Owner,
}

impl Asked<'_> {
    /// A server alone, what is behind a pooler after it, or the nodes of a cluster, each in its place.
    pub(crate) async fn start(&self, behind: Option<&str>) -> Result<Vec<Server>> {
        if let Some(cluster) = Cluster::of_backend(self.recipe.backend) {
            return cluster.start(self).await;
        }
        let Some(behind) = behind else {
            return Ok(vec![self.server(self.request(self.image())).await?]);
        };
        let network = self.network().await?;
        let recipe = Recipe::of_backend(BEHIND).expect("there is one for what is behind a pooler");
        let asked = Asked { recipe, image: behind, ..*self };
        let host = format!("{network}-{BEHIND}");
        let database = asked.request(asked.image()).with_network(&network).with_container_name(&host);
        let database = asked.server(database).await?;
        let pooler = self.request(self.image()).with_network(&network);
        let pooler = self.server(pooler.with_env_var("DATABASE_HOST", host)).await?;
        Ok(vec![pooler, database])
    }

    /// Containers find each other by name on a network of their own. It is named for what is asked for.
    pub(crate) async fn network(&self) -> Result<String> {
        let name = format!("{}-{}-{}", self.owner.name(), self.recipe.backend, self.image);
        let name = name.replace(|one: char| !one.is_ascii_alphanumeric(), "-");
        let labels = HashMap::from([(LABEL.to_owned(), self.owner.label())]);
        let request = NetworkCreateRequest {
            name: name.clone(),
            labels: Some(labels),
            ..NetworkCreateRequest::default()
        };
        let docker = docker_client_instance().await?;
        docker.create_network(request).await.context("make a network")?;
        Ok(name)
    }

    pub(crate) fn image(&self) -> GenericImage {
        let (name, tag) = split_tag(self.image);
        GenericImage::new(name, tag)
    }

    /// A container of the image.
    pub(crate) fn request(&self, image: GenericImage) -> Request {
        let Self { recipe, owner, .. } = self;
        let port = recipe.port;
        let request = image
            .with_exposed_port(port.tcp())
            .with_label(LABEL, owner.label())
            .with_startup_timeout(START_MAX)
            .with_cmd(recipe.command.iter().copied())
            .with_host_config_modifier(move |host| {
                // The default publishes on every address of the machine.
                let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
                host.publish_all_ports = Some(false);
                host.port_bindings = Some([(format!("{port}/tcp"), Some(vec![loopback]))].into());
            });
        recipe.environment.iter().fold(request, |request, (name, value)| request.with_env_var(*name, *value))
    }

    /// Starts a container, and waits until its server answers.
    pub(crate) async fn server(&self, request: Request) -> Result<Server> {
        let Self { recipe, image, .. } = self;
        let container = request.start().await.with_context(|| format!("start {image}"))?;
        let mut server = Server { url: String::new(), container };
        // One that has ended already publishes none.
        let port = server.container.get_host_port_ipv4(recipe.port.tcp()).await.context("the published port");
        let port = server.with_last_lines(port).await?;
        server.url = recipe.url(port);
        let answered = timeout(START_MAX, server.wait_for_answer(recipe, port)).await;
        let in_time = || format!("{image} did not answer within {} s", START_MAX.as_secs());
        let started = answered.with_context(in_time).flatten();
        server.with_last_lines(started).await?;
        Ok(server)
    }
}

impl Server {
    /// By which Docker knows its container.
    pub(crate) fn id(&self) -> &str {
        self.container.id()
    }

    /// Runs a program inside the container; answers what it printed, where it succeeded.
    pub(crate) async fn run(&self, command: &[&str]) -> Result<String> {
        let mut ran = self.container.exec(ExecCommand::new(command.iter().copied())).await?;
        let (said, complained) = (ran.stdout_to_vec().await?, ran.stderr_to_vec().await?);
        let code = wait_for_code(&ran).await?;
        if code != 0 {
            bail!("exit code {code}: {}", String::from_utf8_lossy(&complained).trim_end())
        }
        Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
    }

    async fn wait_for_answer(&self, recipe: &Recipe, port: u16) -> Result<()> {
        while !answers(recipe.protocol, recipe.user, port).await {
            if !self.container.is_running().await? {
                bail!("the server ended");
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// What went wrong with it says the last lines of its log, too.
    pub(crate) async fn with_last_lines<T>(&self, result: Result<T>) -> Result<T> {
        let Err(error) = result else { return result };
        let lines = self.last_lines().await.unwrap_or_else(|error| format!("(not to be had: {error:#})"));
        Err(anyhow!("{error:#}\nThe last lines of its log:\n{}", lines.trim_end()))
    }

    async fn last_lines(&self) -> Result<String> {
        let tail =
            LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&LAST_LINES.to_string()).build();
        let docker = docker_client_instance().await?;
        let mut parts = docker.logs(self.id(), Some(tail));
        let mut lines = String::new();
        while let Some(part) = parts.next().await {
            lines += &part?.to_string();
        }
        Ok(lines)
    }
}

/// How a program ended that has closed its output. It may not be known to have ended yet.
async fn wait_for_code(ran: &ExecResult) -> Result<i64> {
    loop {
        match ran.exit_code().await? {
            Some(code) => return Ok(code),
            None => sleep(POLL).await,
        }
    }
}

fn split_tag(image: &str) -> (&str, &str) {
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_tag_after_its_last_colon() {
        assert_eq!(split_tag("postgres:17"), ("postgres", "17"));
        assert_eq!(split_tag("vitess/vttestserver:mysql80"), ("vitess/vttestserver", "mysql80"));
        assert_eq!(split_tag("localhost:5000/postgres"), ("localhost:5000/postgres", "latest"));
    }
}
