//! Starts database servers in containers, says where they are, and removes them with their volumes when its standard
//! input ends: also when whoever started it was killed. It knows no test.
//!
//! Arguments: one `BACKEND=IMAGE` a server, such as `postgres=postgres:17`. Each server that is ready is one line of
//! JSON on standard output: `{"backend":"postgres","image":"postgres:17","url":"postgres://…"}`.

mod recipe;

use anyhow::{Context, Result, bail};
use recipe::Backend;
use serde::Serialize;
use testcontainers::bollard::models::PortBinding;
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::io::AsyncReadExt;

#[derive(Serialize)]
struct Ready<'a> {
    backend: &'a str,
    image: &'a str,
    url: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let wanted: Vec<(Backend, String)> =
        std::env::args().skip(1).map(|wanted| parse(&wanted)).collect::<Result<_>>()?;
    let mut containers = Vec::with_capacity(wanted.len());
    for (backend, image) in &wanted {
        let container = start(*backend, image).await?;
        let port = container.get_host_port_ipv4(backend.port().tcp()).await.context("the published port")?;
        let ready = Ready { backend: backend.name(), image, url: backend.url(port) };
        println!("{}", serde_json::to_string(&ready)?);
        containers.push(container);
    }
    // Whoever started this closes the pipe, or its end does.
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    for container in containers {
        container.rm().await.context("remove a container")?;
    }
    Ok(())
}

fn parse(wanted: &str) -> Result<(Backend, String)> {
    let Some((backend, image)) = wanted.split_once('=') else { bail!("{wanted:?} is not BACKEND=IMAGE") };
    let backend = Backend::of_name(backend).with_context(|| format!("there is no recipe for {backend}"))?;
    Ok((backend, image.to_owned()))
}

async fn start(backend: Backend, image: &str) -> Result<ContainerAsync<GenericImage>> {
    let (name, tag) = image.split_once(':').unwrap_or((image, "latest"));
    GenericImage::new(name, tag)
        .with_exposed_port(backend.port().tcp())
        .with_wait_for(backend.ready())
        .with_env_var(backend.environment(), backend.password())
        .with_cmd(backend.arguments())
        .with_host_config_modifier(move |host| {
            // The default publishes on every address of the machine.
            let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
            host.publish_all_ports = Some(false);
            host.port_bindings = Some([(format!("{}/tcp", backend.port()), Some(vec![loopback]))].into());
        })
        .start()
        .await
        .with_context(|| format!("start {image}; `cargo xtask images` builds it where no registry answers"))
}
