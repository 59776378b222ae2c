//! Servers from installed programs, on a throw-away data folder, on 127.0.0.1 and a port that is free. They run as an
//! unprivileged user where this program is root's, since PostgreSQL refuses root, and end with this program.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::answer::answers;
use crate::owner::Owner;
use crate::recipe::{PASSWORD, Recipe};

const START_MAX: Duration = Duration::from_secs(180);
const STOP_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// How often a server is started at most.
const STARTS_MAX: u32 = 4;

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) url: String,
    child: Child,
}

/// Where it works and as whom.
struct Place {
    programs: PathBuf,
    /// Its data and its socket are in here.
    folder: PathBuf,
    /// The user to become, where this program is root's.
    user: Option<User>,
}

struct User {
    name: String,
    group: String,
}

impl Program {
    pub(crate) async fn start(recipe: &Recipe, programs: &Path, owner: &Owner) -> Result<Self> {
        let place = Place::make(recipe.backend, programs, owner).await?;
        place.set_up(recipe).await?;
        // Between this and the server's start another program could take the port; then the start fails,
        // and is repeated on another one.
        let mut starts = 1;
        loop {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut child = place.server(recipe, port)?.spawn().context("start the server")?;
            let started = timeout(START_MAX, place.wait_for_answer(recipe, &mut child, port)).await;
            match started.context("the server did not answer in time")?? {
                None => return Ok(Self { url: recipe.url(port), child }),
                Some(status) if starts == STARTS_MAX => {
                    bail!("the server ended with {status}: {}", place.last_words())
                }
                Some(_) => starts += 1,
            }
        }
    }

    /// Asks the server to end at once, and makes it end when it does not.
    pub(crate) async fn stop(mut self) {
        let pid =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
        }
        if timeout(STOP_MAX, self.child.wait()).await.is_err() {
            self.child.kill().await.ok();
        }
    }
}

impl Place {
    async fn make(backend: &str, programs: &Path, owner: &Owner) -> Result<Self> {
        let version = programs.to_string_lossy().replace('/', "-");
        let folder = owner.folder().join(format!("{backend}{version}"));
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        let mut place = Self { programs: programs.to_owned(), folder, user: None };
        if said("id", &["-u"]).await.as_deref() == Some("0") {
            let user = User::unprivileged(backend).await?;
            fs::set_permissions(owner.folder(), Permissions::from_mode(0o755))?;
            succeed(Command::new("chown").arg(&user.name).arg(&place.folder)).await?;
            place.user = Some(user);
        }
        Ok(place)
    }

    /// Makes an empty data folder into that of a server.
    async fn set_up(&self, recipe: &Recipe) -> Result<()> {
        let data = self.folder.join("data");
        match recipe.backend {
            "postgres" => {
                let password = self.folder.join("password");
                fs::write(&password, PASSWORD)?;
                let mut initdb = self.command("initdb");
                initdb.args([
                    "-U",
                    recipe.user,
                    "--auth=scram-sha-256",
                    "-E",
                    "UTF8",
                    "--no-sync",
                    "--pwfile",
                ]);
                succeed(initdb.arg(&password).arg("-D").arg(&data)).await
            }
            "mysql" => {
                let mut initialize = self.command("mysqld");
                initialize.args(["--no-defaults", "--initialize-insecure"]);
                succeed(initialize.arg(argument("datadir", &data))).await
            }
            "mariadb" => {
                let mut install = self.command("mariadb-install-db");
                install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
                succeed(install.arg(argument("datadir", &data))).await
            }
            other => bail!("{other} has no recipe for installed programs"),
        }
    }

    fn server(&self, recipe: &Recipe, port: u16) -> Result<Command> {
        let (data, socket) = (self.folder.join("data"), self.folder.join("socket"));
        let log = fs::File::create(self.log())?;
        let mut server = self.command(recipe.command[0]);
        if recipe.backend == "postgres" {
            server.arg("-D").arg(data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
            server.arg("-c").arg(format!("unix_socket_directories={}", self.folder.display()));
        } else {
            server.arg("--no-defaults").arg(argument("datadir", &data)).arg(argument("socket", &socket));
            server.arg(argument("pid-file", &self.folder.join("pid"))).arg(format!("--port={port}"));
            server.arg("--bind-address=127.0.0.1").arg(argument("init-file", &self.first_statement()?));
            if recipe.backend == "mysql" {
                server.arg("--mysqlx=OFF");
            }
        }
        server.args(&recipe.command[1..]).stderr(log.try_clone()?).stdout(log);
        Ok(server)
    }

    /// Answers how the server ended, if it did before it answered.
    async fn wait_for_answer(
        &self,
        recipe: &Recipe,
        child: &mut Child,
        port: u16,
    ) -> Result<Option<ExitStatus>> {
        while !answers(recipe.protocol, recipe.user, port).await {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(None)
    }

    /// A new server's root has no password.
    fn first_statement(&self) -> Result<PathBuf> {
        let path = self.folder.join("first.sql");
        fs::write(&path, format!("ALTER USER 'root'@'localhost' IDENTIFIED BY '{PASSWORD}';\n"))?;
        Ok(path)
    }

    /// `setpriv` becomes the user, and has the kernel end the server when this program is killed.
    fn command(&self, program: &str) -> Command {
        let installed = self.programs.join(program);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = &self.user {
            command.args(["--reuid", &user.name, "--regid", &user.group, "--init-groups"]);
        }
        command.arg("--").arg(installed).current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.trim_end().lines().last().unwrap_or("it said nothing").to_owned()
    }
}

impl User {
    /// The user of the server's packages, where they made one.
    async fn unprivileged(backend: &str) -> Result<Self> {
        let own = if backend == "postgres" { "postgres" } else { "mysql" };
        for name in [own, "nobody"] {
            if let Some(group) = said("id", &["-g", name]).await {
                return Ok(Self { name: name.to_owned(), group });
            }
        }
        bail!("there is neither a user {own} nor a user nobody to run the server as")
    }
}

fn argument(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// What a program printed, where it succeeded.
async fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().await.with_context(|| format!("start {:?}", command.as_std()))?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.as_std(), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
