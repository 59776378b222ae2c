//! Which handlers the options of `work` ask for. It owns reading commands and secrets; what each handler does is in
//! the crate of ready-made handlers.

use std::collections::BTreeMap;
use std::env::VarError;
use std::path::Path;
use std::sync::Arc;

use taskqueue_core::TaskType;
use taskqueue_core::payloads::types;
use taskqueue_handlers::event::{Durability, EventHandler, FileSink, WebhookSink};
use taskqueue_handlers::exec::{ExecCommand, ExecHandler};
use taskqueue_handlers::webhook::{
    AddressPolicy, Endpoint, EndpointHandler, SigningSecret, WebhookConfig, WebhookHandler, WebhookSender,
};
use taskqueue_worker::{Configure, Handler, WorkerBuilder};

use super::Args;
use super::config::HandlersFile;
use super::{program, ready};
use crate::failure::{Failure, Outcome};
use crate::output;

/// The environment variable that holds the secret of webhooks.
const SECRET_VARIABLE: &str = "TASKQUEUE_WEBHOOK_SECRET";

/// One handler a type.
pub(super) struct Handlers(BTreeMap<TaskType, Arc<dyn Handler>>);

impl Handlers {
    /// The handlers that were asked for.
    pub(super) async fn of(args: &Args) -> Outcome<Self> {
        refuse_unread(args)?;
        if let Some(warning) = warning_of_secret(args, std::env::var_os(SECRET_VARIABLE).is_some()) {
            output::note(format!("taskqueue: {warning}"));
        }
        let mut handlers = Self(BTreeMap::new());
        handlers.add_commands(args)?;
        handlers.add_webhooks(args)?;
        handlers.add_events(args)?;
        if let Some(path) = &args.config {
            let file = HandlersFile::read(path)?;
            for (task_type, handler) in ready::handlers(&args.handlers, &file, &args.metrics()).await? {
                handlers.add_shared(task_type, handler)?;
            }
        }
        handlers.restrict(&args.types)?;
        if handlers.0.is_empty() {
            let options = "--exec, --webhook, --webhooks, --event-webhook, --event-file or --handlers";
            return Err(Failure::usage(format!(
                "work: say what to do with tasks: {options} (see work --help)"
            )));
        }
        Ok(handlers)
    }

    /// The types, in words.
    pub(super) fn types(&self) -> String {
        self.0.keys().map(TaskType::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Gives them to a worker.
    pub(super) fn register(self, builder: WorkerBuilder) -> WorkerBuilder {
        self.0.into_iter().fold(builder, |builder, (task_type, handler)| builder.handle(task_type, handler))
    }

    fn add_commands(&mut self, args: &Args) -> Outcome {
        for (task_type, command) in &args.exec {
            let task_type = TaskType::new(task_type)?;
            let words = words(command)?;
            program::check(&words[0], std::env::var_os("PATH").as_deref())?;
            let handler = ExecHandler::new().allow(task_type.clone(), ExecCommand::new(words)?);
            match args.timeout {
                Some(timeout) => self.add(task_type, handler.timeout(timeout))?,
                None => self.add(task_type, handler)?,
            }
        }
        Ok(())
    }

    fn add_webhooks(&mut self, args: &Args) -> Outcome {
        if args.webhook.is_empty() && !args.webhooks {
            return Ok(());
        }
        let sender = sender(args)?;
        for (task_type, url) in &args.webhook {
            let endpoint = Endpoint::parse(url)?;
            self.add(TaskType::new(task_type)?, EndpointHandler::new(sender.clone(), endpoint))?;
        }
        if args.webhooks {
            self.add(TaskType::new(types::WEBHOOK)?, WebhookHandler::new(sender))?;
        }
        Ok(())
    }

    fn add_events(&mut self, args: &Args) -> Outcome {
        let task_type = TaskType::new(types::EVENT)?;
        if let Some(url) = &args.event_webhook {
            let sink = WebhookSink::new(sender(args)?, Endpoint::parse(url)?);
            self.add(task_type, EventHandler::new(sink))?;
        } else if let Some(path) = &args.event_file {
            let sink = FileSink::open(path, Durability::Synced);
            let sink =
                sink.map_err(|error| Failure::io(format!("cannot open {}", path.display()), &error))?;
            self.add(task_type, EventHandler::new(sink))?;
        }
        Ok(())
    }

    fn add(&mut self, task_type: TaskType, handler: impl Handler) -> Outcome {
        self.add_shared(task_type, Arc::new(handler))
    }

    /// Adds one handler.
    fn add_shared(&mut self, task_type: TaskType, handler: Arc<dyn Handler>) -> Outcome {
        match self.0.insert(task_type.clone(), handler) {
            None => Ok(()),
            Some(_) => Err(Failure::usage(format!("work: two handlers are named for type {task_type}"))),
        }
    }

    fn restrict(&mut self, types: &[TaskType]) -> Outcome {
        if let Some(unknown) = types.iter().find(|task_type| !self.0.contains_key(task_type)) {
            return Err(Failure::usage(format!(
                "work: --types names {unknown}, for which no handler is named"
            )));
        }
        if !types.is_empty() {
            self.0.retain(|task_type, _| types.contains(task_type));
        }
        Ok(())
    }
}

/// Those of the options; the file has its own.
fn has_webhooks(args: &Args) -> bool {
    !args.webhook.is_empty() || args.webhooks || args.event_webhook.is_some()
}

/// Options that nobody reads would be taken for protection, for a permission, or for a limit.
fn refuse_unread(args: &Args) -> Outcome {
    let webhooks = ("--webhook, --webhooks and --event-webhook", has_webhooks(args));
    let timed = ("--exec, --webhook, --webhooks and --event-webhook", webhooks.1 || !args.exec.is_empty());
    let options = [
        (args.allow_private, "--allow-private", "allow_private", webhooks),
        (args.webhook_secret_file.is_some(), "--webhook-secret-file", "secret", webhooks),
        (args.timeout.is_some(), "--timeout", "timeout_seconds", timed),
    ];
    for (is_given, option, key, (readers, is_read)) in options {
        if is_given && !is_read {
            let of_file = format!("; the file of --config has `{key}` in the section of each receiver");
            let of_file = if args.config.is_some() { of_file } else { String::new() };
            return Err(Failure::usage(format!("work: {option} is for {readers}{of_file}")));
        }
    }
    Ok(())
}

/// What to say of the secret in the environment where a ready-made handler delivers, and nothing reads it. Not refused:
/// several workers may share an environment.
fn warning_of_secret(args: &Args, is_set: bool) -> Option<String> {
    let delivers = [types::WEBHOOK, types::EVENT, types::AUDIT_LOG];
    let is_expected = args.handlers.iter().any(|task_type| delivers.contains(&task_type.as_str()));
    (is_set && is_expected && !has_webhooks(args)).then(|| {
        format!(
            "{SECRET_VARIABLE} is for --webhook, --webhooks and --event-webhook: what --handlers deliver is signed where \
             the file of --config has a `secret` in the section of the receiver"
        )
    })
}

fn sender(args: &Args) -> Outcome<WebhookSender> {
    let addresses = if args.allow_private { AddressPolicy::Any } else { AddressPolicy::PublicOnly };
    let mut config = WebhookConfig::default().addresses(addresses);
    if let Some(timeout) = args.timeout {
        config = config.timeout(timeout);
    }
    if let Some(secret) = secret(args.webhook_secret_file.as_deref())? {
        config = config.secret(secret);
    }
    Ok(WebhookSender::new(config)?)
}

/// From the file, or else the environment: never from an argument, which every user of the host can read.
fn secret(file: Option<&Path>) -> Outcome<Option<SigningSecret>> {
    let text = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?)
        }
        None => of_environment(std::env::var(SECRET_VARIABLE))?,
    };
    Ok(text.map(|text| SigningSecret::parse(text.trim())).transpose()?)
}

/// One that cannot be read is no missing one: deliveries would go out unsigned.
fn of_environment(variable: Result<String, VarError>) -> Outcome<Option<String>> {
    match variable {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("work: the secret in {SECRET_VARIABLE} is not UTF-8")))
        }
    }
}

/// A command as a shell would split it into words; no shell ever runs it.
fn words(command: &str) -> Outcome<Vec<String>> {
    let words = shlex::split(command).filter(|words| !words.is_empty());
    words
        .ok_or_else(|| Failure::usage(format!("work: the command {command:?} is empty or has an open quote")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would_and_never_run_by_one() {
        let words_of = words(r#"sh -c 'echo "$0"' "a b""#).expect("well formed");
        assert_eq!(words_of, ["sh", "-c", r#"echo "$0""#, "a b"]);
        assert!(words("").is_err() && words("echo 'open").is_err());
    }

    fn args(options: &[&str]) -> Args {
        use clap::{Args as _, FromArgMatches as _};
        let command = Args::augment_args(clap::Command::new("work"));
        let matches = command.try_get_matches_from([&["work"], options].concat()).expect("they are options");
        Args::from_arg_matches(&matches).expect("they are options")
    }

    #[test]
    fn an_option_that_nothing_reads_is_refused() {
        let refused = |options: &[&str]| {
            let failure = refuse_unread(&args(options)).err();
            failure.and_then(|failure| failure.message().map(str::to_owned)).unwrap_or_default()
        };
        let ready_made = ["--handlers", "webhook", "--config", "handlers.toml"];
        let webhooks = "is for --webhook, --webhooks and --event-webhook";
        assert_eq!(
            refused(&["--exec", "mail=cat", "--allow-private"]),
            format!("work: --allow-private {webhooks}")
        );
        let with_file = refused(&[&ready_made[..], &["--webhook-secret-file", "secret"]].concat());
        assert!(
            with_file.starts_with(&format!("work: --webhook-secret-file {webhooks}; the file of")),
            "{with_file}"
        );
        let timeout = refused(&[&ready_made[..], &["--timeout", "3s"]].concat());
        assert!(timeout.starts_with("work: --timeout is for --exec, --webhook,"), "{timeout}");
        for read in
            [["--exec", "mail=cat", "--timeout", "3s"], ["--event-webhook", "http://h", "--timeout", "3s"]]
        {
            assert_eq!(refused(&read), "");
        }
    }

    #[test]
    fn the_environments_secret_is_told_of_where_a_ready_made_handler_delivers_and_does_not_read_it() {
        let is_told = |options: &[&str], is_set| warning_of_secret(&args(options), is_set).is_some();
        let ready_made = ["--handlers", "audit_log", "--config", "handlers.toml"];
        assert!(is_told(&ready_made, true) && !is_told(&ready_made, false));
        assert!(!is_told(&[&ready_made[..], &["--webhooks"]].concat(), true), "those are signed with it");
        assert!(
            !is_told(&["--handlers", "cleanup", "--config", "handlers.toml"], true),
            "nothing is delivered"
        );
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_refused_and_not_shown() {
        let refused = of_environment(Err(VarError::NotUnicode("hunter2".into()))).expect_err("it was meant");
        assert_eq!(refused.code(), crate::failure::Code::Usage);
        assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
        assert_eq!(of_environment(Err(VarError::NotPresent)).expect("none is asked for"), None);
    }

    #[test]
    fn a_secret_comes_from_its_file_without_the_line_end() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hunter2\n").expect("writable");
        let found = secret(Some(file.path())).expect("readable");
        assert_eq!(found, Some(SigningSecret::parse("hunter2").expect("a secret")));
        assert!(secret(Some(Path::new("/no/such/file"))).is_err());
    }
}
