//! The server under measurement: a process of its own, or two, on an empty directory or database.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::process::Process;
use crate::slow_disk::SlowDisk;
use crate::{clock, control};

/// The operator key of every run; the server listens on the loopback address, for minutes, with nothing to protect.
const OPERATOR_KEY: &str = "hhk_benchmark0123456789abcdef0123456789abcdef";
/// The master key of every run, so that two processes have the same.
const MASTER_KEY: &str = "6861726265722d62656e63682d6d61737465722d6b65792d3030303030303031";
/// How long the server may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(2);
/// How much of the end of its log is shown when the server fails.
const LOG_TAIL_BYTES: u64 = 4_000;

/// What a server is started with, and started again with.
pub(crate) struct Launch<'a> {
    /// Its program.
    pub(crate) program: &'a Path,
    /// Its configuration file as it stands.
    pub(crate) settings: toml::Table,
    /// Where it keeps its files.
    pub(crate) folder: &'a Path,
    /// Its PostgreSQL database; without one it keeps everything in the folder.
    pub(crate) database_url: Option<String>,
    /// PostgreSQL's first process, to be counted.
    pub(crate) postmaster: Option<u32>,
    /// Whether API and worker are processes of their own.
    pub(crate) is_split: bool,
    /// What makes its syncs slow.
    pub(crate) slow_disk: Option<SlowDisk>,
}

/// A server that is ready.
pub(crate) struct Server {
    parts: Vec<Part>,
    site: Site,
}

/// One of a server's processes.
struct Part {
    name: &'static str,
    process: Process,
    log: PathBuf,
    ops: SocketAddr,
}

/// Where a server is reached, and what it let the measurement know.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where its API listens.
    pub api: SocketAddr,
    /// Where the metrics of each of its processes are.
    pub ops: Vec<SocketAddr>,
    /// Its operator's key.
    pub operator_key: String,
    /// Its processes.
    pub processes: Vec<SiteProcess>,
    /// PostgreSQL's first process, if it is to be counted.
    pub postmaster: Option<u32>,
    /// From its start to its being ready; `None` if it was running before.
    pub ready_seconds: Option<f64>,
}

/// One of the processes of a server.
#[derive(Clone, Copy, Debug)]
pub struct SiteProcess {
    /// What it does.
    pub name: &'static str,
    /// Its id.
    pub id: u32,
}

/// The name of a process that does everything.
const WHOLE: &str = "server";

/// Builds the server's program as this one was built and returns where it lies: beside this one.
pub fn build() -> Result<PathBuf> {
    let mut command = std::process::Command::new(cargo());
    command.args(["build", "--package", "harbor-server"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // What cargo has to say goes to standard error; standard output belongs to the report.
    let status = command.stdout(Stdio::null()).status().context("cannot start cargo")?;
    ensure!(status.success(), "the server does not build");
    beside_this_program()
}

/// Returns where the server's program lies, if it was built before.
pub fn beside_this_program() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("harborhook");
    ensure!(path.exists(), "there is no {}: build it with `cargo build --release`", path.display());
    Ok(path)
}

#[expect(clippy::disallowed_methods, reason = "cargo tells the program that it runs which cargo it is")]
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

impl Server {
    /// Starts the server and waits until all of it is ready.
    pub(crate) async fn start(launch: &Launch<'_>) -> Result<Self> {
        std::fs::write(launch.config(), toml::to_string(&launch.settings)?)?;
        let roles: &[(&'static str, Option<&str>)] = if launch.is_split {
            &[("api", Some("api")), ("worker", Some("worker,scheduler"))]
        } else {
            &[(WHOLE, None)]
        };

        let start_us = clock::now_us();
        let (mut parts, mut api) = (Vec::new(), None);
        for (name, roles) in roles {
            let (listen, part) = launch.start(name, *roles)?;
            // The first of them has the API.
            api.get_or_insert(listen);
            parts.push(part);
        }
        for part in &mut parts {
            part.until_ready(start_us).await?;
        }
        let site = Site {
            api: api.expect("a server has at least one process"),
            ops: parts.iter().map(|part| part.ops).collect(),
            operator_key: OPERATOR_KEY.to_owned(),
            processes: parts.iter().map(Part::seen).collect(),
            postmaster: launch.postmaster,
            ready_seconds: Some(clock::seconds_between(start_us, clock::now_us())),
        };
        Ok(Self { parts, site })
    }

    /// Returns where it is reached.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Returns the end of what it logged.
    pub(crate) fn log_tail(&self) -> String {
        self.parts.iter().map(Part::log_tail).collect::<Vec<_>>().join("\n")
    }

    /// Asks it to end and waits; fails if it did not end well.
    pub(crate) async fn stop(self) -> Result<()> {
        for Part { name, process, .. } in self.parts {
            match process.stop().await? {
                Some(status) if status.success() => {}
                Some(status) => bail!("the {name} ended with {status}"),
                None => bail!("the {name} did not end when it was asked to"),
            }
        }
        Ok(())
    }

    /// Ends it without a warning, as a crash does, and starts it again on what it left behind.
    pub(crate) async fn crash_and_start(&mut self, launch: &Launch<'_>) -> Result<()> {
        // A process that is dropped is killed and waited for.
        self.parts.clear();
        *self = Self::start(launch).await?;
        Ok(())
    }
}

impl Launch<'_> {
    fn config(&self) -> PathBuf {
        self.folder.join("harborhook.toml")
    }

    /// Starts a process with some of the roles and returns where it listens.
    fn start(&self, name: &'static str, roles: Option<&str>) -> Result<(SocketAddr, Part)> {
        let (listen, ops) = free_addresses()?;
        let log = self.folder.join(format!("{name}.log"));
        // A server that is started again goes on with its log.
        let log_file = File::options().create(true).append(true).open(&log)?;

        let mut command = Command::new(self.program);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .arg("--data-dir")
            .arg(self.folder.join(format!("{name}-data")))
            .args(["--listen", &listen.to_string(), "--ops-listen", &ops.to_string()])
            // The settings of the run are all in sight: nothing comes from the caller's environment.
            .env_clear()
            .env("HARBORHOOK_OPERATOR_KEY", OPERATOR_KEY)
            .env("HARBORHOOK_MASTER_KEY", MASTER_KEY)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file);
        if let Some(url) = &self.database_url {
            command.args(["--database-url", url]);
        }
        if let Some(roles) = roles {
            command.args(["--roles", roles]);
        }
        if let Some(slow_disk) = &self.slow_disk {
            command.envs(slow_disk.environment());
        }
        Ok((listen, Part { name, process: Process::start(command)?, log, ops }))
    }
}

impl Part {
    fn seen(&self) -> SiteProcess {
        SiteProcess { name: self.name, id: self.process.id() }
    }

    fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("its log cannot be read: {error}"))
    }

    async fn until_ready(&mut self, start_us: u64) -> Result<()> {
        let name = self.name;
        while !control::is_ok(self.ops, "/readyz").await {
            if let Some(status) = self.process.find_end()? {
                let log = self.log_tail();
                bail!("the {name} ended with {status} instead of starting; its log ends:\n{log}");
            }
            let waited = clock::seconds_between(start_us, clock::now_us());
            if waited > READY_TIMEOUT.as_secs_f64() {
                bail!("the {name} is not ready after {waited:.0} s; its log ends:\n{}", self.log_tail());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }
}

/// Finds two ports that nobody listens on. Somebody could take one before the server does; then it fails to start.
fn free_addresses() -> Result<(SocketAddr, SocketAddr)> {
    // Held together, so that they differ.
    let (api, ops) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((api.local_addr()?, ops.local_addr()?))
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_does_not_start_shows_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch {
            program: Path::new("/bin/ls"),
            settings: toml::Table::new(),
            folder: folder.path(),
            database_url: None,
            postmaster: None,
            is_split: false,
            slow_disk: None,
        };
        let error = Server::start(&launch).await.err().unwrap().to_string();
        assert!(error.contains("instead of starting"), "{error}");
        assert!(error.contains("--config"), "ls complains about the option: {error}");
    }

    #[test]
    fn the_tail_of_a_long_log_is_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, format!("{}the end", "x".repeat(10_000))).unwrap();
        let tail = tail(&path).unwrap();
        assert_eq!(tail.len() as u64, LOG_TAIL_BYTES);
        assert!(tail.ends_with("the end"));
    }
}
