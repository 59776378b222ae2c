//! Starts servers, says where they are, and removes them with their data when its standard input ends or it
//! is told to end: also when whoever started it was killed. It knows no test.
//!
//! Arguments: one a server, `BACKEND=IMAGE` for a container (`postgres=postgres:17`, `pgbouncer=pgbouncer:1@postgres:17`
//! for a pooler and what is behind it, `galera=mariadb:11.8` for a cluster) or `BACKEND=programs:FOLDER` for installed
//! programs. Each server is one line of JSON on standard output, once it answers or cannot be started, with each of its
//! containers: `{"wanted":"postgres=postgres:17","url":"postgres://…","nodes":[{"url":"postgres://…","container":"…"}]}`,
//! `{"wanted":"mysql=mysql:9.7","error":"…"}`. The nodes of a cluster are in a fixed order, the first primary first.

mod answer;
mod cluster;
mod container;
mod owner;
mod program;
mod recipe;
mod sweep;
mod wanted;

use std::io::{Read, Write};

use anyhow::Result;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::container::{Asked, Server};
use crate::owner::Owner;
use crate::program::Program;
use crate::wanted::{Source, Wanted};

#[derive(Serialize, Default)]
struct Line {
    wanted: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Where the server behind a pooler is.
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<Node>,
}

/// One container.
#[derive(Serialize)]
struct Node {
    url: String,
    /// Its id.
    container: String,
}

/// What runs until this program ends.
enum Held {
    /// Removed by its label.
    Containers(Vec<Server>),
    Program(Program),
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<Wanted> = arguments.iter().map(|it| Wanted::parse(it)).collect::<Result<_>>()?;
    let owner = Owner::take()?;
    if let Err(error) = sweep::orphans().await {
        eprintln!("what a killed run left behind could not be looked for: {error:#}");
    }
    let mut held = Vec::new();
    tokio::select! {
        () = told_to_end() => {}
        () = hold(wanted, &owner, &mut held) => {}
    }
    for server in held {
        match server {
            Held::Program(program) => program.stop().await,
            // Its own removal would come after ours, and find nothing.
            Held::Containers(servers) => std::mem::forget(servers),
        }
    }
    sweep::own(&owner).await
}

/// Ends with standard input or a signal: whoever started this closes the pipe, or its death does.
async fn told_to_end() {
    let (sender, ended) = oneshot::channel();
    // A thread of its own: the runtime would wait for a read that it has begun.
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        sender.send(()).ok();
    });
    tokio::select! {
        _ = ended => {}
        () = signalled() => {}
    }
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).expect("the runtime takes signals");
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(listen);
    let [interrupt, terminate, hangup] = &mut signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signalled() {
    tokio::signal::ctrl_c().await.ok();
}

/// Starts all at once, says of each what became of it, and keeps them. It does not return. All of it is one task: a container that
/// is dropped waits for its removal, for which neither a task of several threads (what a container's program prints cannot be
/// waited for there) nor a `LocalSet` will do: there the drop panics, and nobody is told why the server did not start.
async fn hold(wanted: Vec<Wanted>, owner: &Owner, held: &mut Vec<Held>) {
    let start = |wanted: Wanted| async move { (start(&wanted, owner).await, wanted.text) };
    let mut starting: FuturesUnordered<_> = wanted.into_iter().map(start).collect();
    while let Some((started, wanted)) = starting.next().await {
        let line = match started {
            Ok((server, line)) => {
                held.push(server);
                Line { wanted, ..line }
            }
            Err(error) => Line { wanted, error: Some(format!("{error:#}")), ..Line::default() },
        };
        say(&line);
    }
    std::future::pending::<()>().await;
}

async fn start(wanted: &Wanted, owner: &Owner) -> Result<(Held, Line)> {
    match &wanted.source {
        Source::Image { image, behind } => {
            let asked = Asked { recipe: wanted.recipe, image, owner };
            let servers = asked.start(behind.as_deref()).await?;
            let node = |it: &Server| Node { url: it.url.clone(), container: it.id().to_owned() };
            let nodes: Vec<Node> = servers.iter().map(node).collect();
            let admin_url = behind.as_ref().and_then(|_| nodes.last()).map(|node| node.url.clone());
            let url = nodes.first().map(|node| node.url.clone());
            Ok((Held::Containers(servers), Line { url, admin_url, nodes, ..Line::default() }))
        }
        Source::Programs(folder) => {
            let program = Program::start(wanted.recipe, folder, owner).await?;
            let line = Line { url: Some(program.url.clone()), ..Line::default() };
            Ok((Held::Program(program), line))
        }
    }
}

/// Nobody may be left to read it: then standard input ends as well.
fn say(line: &Line) {
    let text = serde_json::to_string(line).expect("a line has a JSON form");
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).ok();
}
