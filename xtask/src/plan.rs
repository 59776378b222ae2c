//! What servers a run is to have: what was asked for, against what this machine has. It gets images and starts
//! nothing.

use std::env;

use crate::backends::Backend;
use crate::images::{Building, Engine};
use crate::sources::{Missing, Situation, Sources, installed};
use crate::workspace::Workspace;

/// What a run is asked for.
pub(crate) struct Asked {
    pub(crate) backends: Vec<&'static Backend>,
    /// Whether each of the backends was named, so that the run fails without it.
    pub(crate) by_name: bool,
    /// Images in place of the backends' own.
    pub(crate) images: Vec<String>,
    /// Whether URLs in the environment are looked at.
    pub(crate) urls: bool,
    /// What is not run unless its URL is given, with the reason: images of a gigabyte, which only the workflows pull.
    pub(crate) left_out: &'static [(&'static str, &'static str)],
    pub(crate) building: Building,
}

/// What `cargo xtask test` leaves to the workflows.
pub(crate) const LEFT_TO_WORKFLOWS: [(&str, &str); 2] = [
    ("cockroach", "run by the workflows, and by `cargo xtask conformance --backend cockroach`"),
    ("vitess", "run by the workflows, and by `cargo xtask conformance --backend vitess`"),
];

/// The servers of each backend that needs one.
pub(crate) fn plan(workspace: &Workspace, asked: &Asked) -> Vec<Sources> {
    let mut engine = Engine::find(workspace, asked.building);
    let mut get = |image: &str| match &mut engine {
        Ok(engine) => engine.get(image),
        Err(why) => Err(why.clone()),
    };
    asked.backends.iter().filter_map(|backend| sources(backend, asked, &mut get)).collect()
}

fn sources(
    backend: &'static Backend,
    asked: &Asked,
    get: &mut impl FnMut(&str) -> Result<(), String>,
) -> Option<Sources> {
    let needs = backend.server.as_ref()?;
    let has_url = asked.urls && env::var_os(needs.variable).is_some();
    let left_out = asked.left_out.iter().find(|(name, _)| *name == backend.name);
    if let (Some((_, reason)), false) = (left_out, has_url) {
        let server = needs.images[0].to_owned();
        let missing = Missing { server, reason: (*reason).to_owned(), is_asked_for: false };
        return Some(Sources { backend, found: Vec::new(), missing: vec![missing] });
    }
    let images: Vec<&str> =
        asked.images.iter().map(String::as_str).filter(|it| backend.runs_on(it)).collect();
    let programs = needs.program.map(installed).unwrap_or_default();
    let situation = Situation { has_url, images: &images, is_asked_for: asked.by_name, programs };
    Some(Sources::choose(backend, needs, situation, get))
}
