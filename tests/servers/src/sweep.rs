//! Removing containers with their volumes, networks and folders: this run's at its end, and at the start those of
//! runs that were killed. What does not carry the label is never touched.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;

use crate::owner::{self, LABEL, Owner};

/// Removes what this run made. Without an engine there is nothing.
pub(crate) async fn own(owner: &Owner) -> Result<()> {
    let own = owner.label();
    with_label(|label| label == own).await
}

/// Removes what ended runs of this machine have left behind.
pub(crate) async fn orphans() -> Result<()> {
    let host = owner::host();
    with_label(|label| owner::is_orphan(label, &host, owner::is_held)).await?;
    for folder in owner::folders_left() {
        remove_folder(&folder)?;
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

async fn with_label(is_chosen: impl Fn(&str) -> bool) -> Result<()> {
    let Ok(docker) = docker_client_instance().await else { return Ok(()) };
    if docker.ping().await.is_err() {
        return Ok(());
    }
    containers(&docker, &is_chosen).await?;
    networks(&docker, &is_chosen).await
}

async fn containers(docker: &Docker, is_chosen: &impl Fn(&str) -> bool) -> Result<()> {
    let options = ListContainersOptionsBuilder::default().all(true).filters(&labelled()).build();
    let listed = docker.list_containers(Some(options)).await.context("list containers")?;
    for container in listed.into_iter().filter(|it| is_ours(it.labels.as_ref(), is_chosen)) {
        let id = container.id.unwrap_or_default();
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        docker
            .remove_container(&id, Some(options))
            .await
            .with_context(|| format!("remove container {id}"))?;
    }
    Ok(())
}

async fn networks(docker: &Docker, is_chosen: &impl Fn(&str) -> bool) -> Result<()> {
    let options = ListNetworksOptionsBuilder::default().filters(&labelled()).build();
    let listed = docker.list_networks(Some(options)).await.context("list networks")?;
    for network in listed.into_iter().filter(|it| is_ours(it.labels.as_ref(), is_chosen)) {
        let id = network.id.unwrap_or_default();
        docker.remove_network(&id).await.with_context(|| format!("remove network {id}"))?;
    }
    Ok(())
}

fn labelled() -> HashMap<&'static str, Vec<&'static str>> {
    HashMap::from([("label", vec![LABEL])])
}

fn is_ours(labels: Option<&HashMap<String, String>>, is_chosen: &impl Fn(&str) -> bool) -> bool {
    labels.and_then(|labels| labels.get(LABEL)).is_some_and(|label| is_chosen(label))
}
