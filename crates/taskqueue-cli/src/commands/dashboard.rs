//! `dashboard`: serves the web dashboard until told to stop. It owns who is let in where; what is served is the crate
//! `taskqueue-dashboard`'s.

use std::env::VarError;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use taskqueue_core::Queue;
use taskqueue_dashboard::{Actions, Dashboard, Hosts, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Payloads};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::log::{self, LogFormat};
use crate::connect;
use crate::failure::{Code, Failure, Outcome};
use crate::output;
use crate::stop::Stop;
use crate::target::Target;
use crate::values;

/// The environment variable that holds the password where no file does.
const PASSWORD_VARIABLE: &str = "TASKQUEUE_DASHBOARD_PASSWORD";
/// How long a database that does not answer is waited for at the end.
const CLOSE_PERIOD: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  taskqueue dashboard
  taskqueue dashboard --listen 127.0.0.1:0 --allow-actions
  taskqueue dashboard --redact email,token
  taskqueue dashboard --listen 0.0.0.0:8686 --password-file dashboard.secret
  curl -H 'Authorization: Bearer …' http://127.0.0.1:8686/api/stats

It is read-only without --allow-actions. An address that can be reached from other hosts needs a password: in the file of \
--password-file, or in TASKQUEUE_DASHBOARD_PASSWORD. A browser asks for it (the user may be anything), and programs \
send it as a bearer token. It is in every request: put TLS in front where others can read along. Without a password \
it is served to this host only, under names of this host only.

docs/dashboard.md says what it shows, its JSON, and how a service serves it by itself.";

/// Serves a web dashboard: what the queue holds, its tasks, dead letters and workers.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one, which is said on standard error
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8686")]
    listen: SocketAddr,
    /// Let viewers cancel and redrive tasks, and pause and resume types
    #[arg(long)]
    allow_actions: bool,
    /// Ask for the password in this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Keep back the values of these fields, in payloads and metadata
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', conflicts_with = "hide_payloads")]
    redact: Vec<String>,
    /// Show no payloads, nor the values of metadata
    #[arg(long)]
    hide_payloads: bool,
    /// How long the database may take for one answer
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "10s")]
    query_timeout: Duration,
    /// How many tasks a page of a list has
    #[arg(long, value_name = "TASKS", value_parser = page_size, default_value_t = PAGE_SIZE_DEFAULT)]
    page_size: usize,
    /// How the log on standard error is written: text, or json for one object a line
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Serves until told to stop.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    log::start(args.log_format);
    let password = password(args.password_file.as_deref(), std::env::var(PASSWORD_VARIABLE))?;
    let hosts = hosts(args.listen, password.is_some())?;
    let payloads = payloads(&args)?;
    if args.query_timeout.is_zero() {
        return Err(Failure::usage("dashboard: --query-timeout is zero: no query could be answered"));
    }
    let mut stop = Stop::listen(false)?;
    let queue = tokio::select! {
        queue = connect::existing(target) => queue?,
        () = stop.requested() => return Err(interrupted("dashboard: interrupted before it was served")),
    };
    let dashboard = dashboard(&queue, password, hosts, payloads, &args)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener =
        listener.map_err(|error| Failure::io(format!("cannot listen on {}", args.listen), &error))?;
    let address = listener.local_addr().map_err(|error| Failure::io("cannot listen", &error))?;
    let what = if args.allow_actions { "actions allowed" } else { "read-only" };
    output::note(format!("taskqueue: dashboard of {target}, {what}, at http://{address}/"));
    serve(listener, dashboard.router(), &mut stop, dashboard.answer_max()).await?;
    let _ = tokio::time::timeout(CLOSE_PERIOD, queue.close()).await;
    Ok(())
}

fn page_size(text: &str) -> Result<usize, String> {
    let tasks = text.parse().ok().filter(|tasks| (1..=PAGE_SIZE_MAX).contains(tasks));
    tasks.ok_or_else(|| format!("not a number of 1 to {PAGE_SIZE_MAX}"))
}

/// From the file, or else the environment: never from an argument, which every user of the host can read.
fn password(file: Option<&Path>, variable: Result<String, VarError>) -> Outcome<Option<String>> {
    let (text, origin) = match (file, variable) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path);
            let origin = path.display().to_string();
            (text.map_err(|error| Failure::io(format!("cannot read {origin}"), &error))?, origin)
        }
        (None, Ok(text)) => (text, PASSWORD_VARIABLE.to_owned()),
        (None, Err(VarError::NotPresent)) => return Ok(None),
        (None, Err(VarError::NotUnicode(_))) => {
            return Err(Failure::usage(format!(
                "dashboard: the password in {PASSWORD_VARIABLE} is not UTF-8"
            )));
        }
    };
    match text.trim() {
        "" => Err(Failure::usage(format!("dashboard: the password in {origin} is empty"))),
        password => Ok(Some(password.to_owned())),
    }
}

/// By which names it may be called, and that nobody from elsewhere gets in without a password.
fn hosts(listen: SocketAddr, has_password: bool) -> Outcome<Hosts> {
    match (has_password, listen.ip().is_loopback()) {
        (true, _) => Ok(Hosts::Any),
        (false, true) => Ok(Hosts::Loopback),
        (false, false) => Err(Failure::usage(format!(
            "dashboard: {listen} can be reached from other hosts, so it needs a password: in a file \
             (--password-file) or in {PASSWORD_VARIABLE}"
        ))),
    }
}

/// What is shown of payloads. A name that is missing may be one that was to be kept back.
fn payloads(args: &Args) -> Outcome<Payloads> {
    let names: Vec<String> = args.redact.iter().map(|name| name.trim().to_owned()).collect();
    match names.as_slice() {
        _ if args.hide_payloads => Ok(Payloads::Hidden),
        [] => Ok(Payloads::Shown),
        names if names.iter().any(String::is_empty) => Err(Failure::usage(
            "dashboard: --redact has an empty name: name the fields to keep back, or use --hide-payloads",
        )),
        _ => Ok(Payloads::Redacted(names)),
    }
}

fn dashboard(
    queue: &Arc<dyn Queue>,
    password: Option<String>,
    hosts: Hosts,
    payloads: Payloads,
    args: &Args,
) -> Outcome<Dashboard> {
    let mut builder = Dashboard::builder(Arc::clone(queue))
        .actions(if args.allow_actions { Actions::Allowed } else { Actions::Refused })
        .hosts(hosts)
        .payloads(payloads)
        .query_timeout(args.query_timeout)
        .page_size(args.page_size);
    if let Some(password) = password {
        builder = builder.bearer_token(&password).password(password);
    }
    Ok(builder.build()?)
}

/// Answers until told to stop; then what is being answered may end, for as long as an answer may take. A second request to
/// stop ends it at once.
async fn serve(listener: TcpListener, pages: Router, stop: &mut Stop, answer_max: Duration) -> Outcome {
    let (ending, ended) = oneshot::channel::<()>();
    let server = axum::serve(listener, pages).with_graceful_shutdown(async {
        let _ = ended.await;
    });
    let mut server = pin!(server.into_future());
    tokio::select! {
        broken = &mut server => {
            return broken.map_err(|error| Failure::io("cannot go on listening", &error));
        }
        () = stop.requested() => drop(ending),
    }
    tokio::select! {
        _ = tokio::time::timeout(answer_max, server) => Ok(()),
        () = stop.requested() => Err(interrupted("dashboard: stopped at once")),
    }
}

fn interrupted(text: &str) -> Failure {
    Failure::new(Code::Interrupted, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_from_elsewhere_gets_in_without_a_password() {
        let at = |address: &str| address.parse::<SocketAddr>().expect("an address");
        for address in ["0.0.0.0:80", "192.168.1.2:80", "[::]:80", "[2001:db8::1]:80"] {
            assert_eq!(
                hosts(at(address), false).expect_err("it is refused").code(),
                Code::Usage,
                "{address}"
            );
            assert_eq!(hosts(at(address), true).expect("it has one"), Hosts::Any);
        }
        for address in ["127.0.0.1:80", "[::1]:80"] {
            assert_eq!(hosts(at(address), false).expect("it is this host"), Hosts::Loopback, "{address}");
        }
    }

    #[test]
    fn an_empty_password_is_none_that_was_meant() {
        assert_eq!(password(None, Err(VarError::NotPresent)).expect("none is asked for"), None);
        assert_eq!(
            password(None, Ok("secret of the house\n".into())).expect("it is one").as_deref(),
            Some("secret of the house")
        );
        assert_eq!(password(None, Ok(" \n".into())).expect_err("it is empty").code(), Code::Usage);
        let broken = password(None, Err(VarError::NotUnicode("secret".into())));
        let refusal = broken.expect_err("it was meant as one");
        assert_eq!(refusal.code(), Code::Usage);
        assert!(!format!("{refusal:?}").contains("secret"), "{refusal:?}");
        let missing = password(Some(Path::new("no/such/file")), Ok("other".into()));
        assert_eq!(missing.expect_err("the file was asked for").code(), Code::NotFound);
    }
}
