//! Servers in containers: each is published on 127.0.0.1 only, labelled with its owner, and waited for until it
//! answers. Removing them is the sweep's affair.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testcontainers::bollard::models::{NetworkCreateRequest, PortBinding};
use testcontainers::core::IntoContainerPort;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

use crate::answer::answers;
use crate::owner::{LABEL, Owner};
use crate::recipe::{BEHIND, Recipe};

/// The slowest first start on a busy machine of two cores took half a minute.
const START_MAX: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);

type Container = ContainerAsync<GenericImage>;

/// A server, and the one behind it where it is a pooler.
pub(crate) struct Pair {
    pub(crate) url: String,
    /// Where the server behind is.
    pub(crate) admin_url: Option<String>,
    _containers: Vec<Container>,
}

impl Pair {
    pub(crate) async fn start(
        recipe: &'static Recipe,
        image: &str,
        behind: Option<&str>,
        owner: &Owner,
    ) -> Result<Self> {
        let Some(behind) = behind else {
            let (container, url) = start(recipe, request(recipe, image, owner), image).await?;
            return Ok(Self { url, admin_url: None, _containers: vec![container] });
        };
        let network = owner.name();
        create_network(&network, owner).await?;
        let server = Recipe::of_backend(BEHIND).expect("there is one for what is behind a pooler");
        let host = format!("{network}-{BEHIND}");
        let request_behind = request(server, behind, owner).with_network(&network).with_container_name(&host);
        let (database, admin_url) = start(server, request_behind, behind).await?;
        let request =
            request(recipe, image, owner).with_network(&network).with_env_var("DATABASE_HOST", host);
        let (pooler, url) = start(recipe, request, image).await?;
        Ok(Self { url, admin_url: Some(admin_url), _containers: vec![pooler, database] })
    }
}

/// Containers find each other by name on a network of their own.
async fn create_network(name: &str, owner: &Owner) -> Result<()> {
    let labels = HashMap::from([(LABEL.to_owned(), owner.label())]);
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        labels: Some(labels),
        ..NetworkCreateRequest::default()
    };
    let docker = docker_client_instance().await?;
    docker.create_network(request).await.context("make a network")?;
    Ok(())
}

fn request(recipe: &'static Recipe, image: &str, owner: &Owner) -> ContainerRequest<GenericImage> {
    let (name, tag) = split_tag(image);
    let port = recipe.port;
    let request = GenericImage::new(name, tag)
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

fn split_tag(image: &str) -> (&str, &str) {
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"))
}

async fn start(
    recipe: &Recipe,
    request: ContainerRequest<GenericImage>,
    image: &str,
) -> Result<(Container, String)> {
    let container = request.start().await.with_context(|| format!("start {image}"))?;
    let port = container.get_host_port_ipv4(recipe.port.tcp()).await.context("the published port")?;
    let answered = tokio::time::timeout(START_MAX, wait_for_answer(recipe, &container, port)).await;
    answered.with_context(|| format!("{image} did not answer within {} s", START_MAX.as_secs()))??;
    Ok((container, recipe.url(port)))
}

async fn wait_for_answer(recipe: &Recipe, container: &Container, port: u16) -> Result<()> {
    while !answers(recipe.protocol, recipe.user, port).await {
        if !container.is_running().await? {
            let said = container.stderr_to_vec().await.unwrap_or_default();
            let said = String::from_utf8_lossy(&said).trim_end().to_owned();
            bail!("the server ended: {}", said.lines().last().unwrap_or("it said nothing"));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
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
