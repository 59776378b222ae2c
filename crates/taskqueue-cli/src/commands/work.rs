//! `work` placeholder for compile
use crate::failure::Outcome;
/// x
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:")]
pub(crate) struct Args {}
pub(crate) async fn run(_: &str, _: Args) -> Outcome {
    Ok(())
}
