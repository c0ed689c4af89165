//! The server under measurement, a process of its own on an empty directory.

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
use crate::{clock, control};

/// The operator key of every run; the server listens on the loopback address, for minutes, on an empty directory.
const OPERATOR_KEY: &str = "hhk_benchmark0123456789abcdef0123456789abcdef";
/// How long the server may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(2);
/// How much of the end of its log is shown when the server fails.
const LOG_TAIL_BYTES: u64 = 4_000;

/// A server that is ready.
pub(crate) struct Server {
    process: Process,
    log: PathBuf,
    site: Site,
}

/// Where a server is reached, and what it let the measurement know.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where its API listens.
    pub api: SocketAddr,
    /// Where its metrics are.
    pub ops: SocketAddr,
    /// Its operator's key.
    pub operator_key: String,
    /// The id of its process.
    pub process_id: u32,
    /// From its start to its being ready; `None` if it was running before.
    pub ready_seconds: Option<f64>,
}

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
    /// Starts the server in a folder and waits until it is ready.
    pub(crate) async fn start(program: &Path, settings: &toml::Table, folder: &Path) -> Result<Self> {
        let config = folder.join("harborhook.toml");
        std::fs::write(&config, toml::to_string(settings)?)?;
        let (api, ops) = free_addresses()?;
        let log = folder.join("server.log");
        let log_file = File::create(&log)?;

        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .args(["--listen", &api.to_string(), "--ops-listen", &ops.to_string()])
            // The settings of the run are all in sight: nothing comes from the caller's environment.
            .env_clear()
            .env("HARBORHOOK_OPERATOR_KEY", OPERATOR_KEY)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file);
        let start_us = clock::now_us();
        let process = Process::start(command)?;
        let site = Site {
            api,
            ops,
            operator_key: OPERATOR_KEY.to_owned(),
            process_id: process.id(),
            ready_seconds: None,
        };
        let mut server = Self { process, log, site };
        server.until_ready(start_us).await?;
        server.site.ready_seconds = Some(clock::seconds_between(start_us, clock::now_us()));
        Ok(server)
    }

    /// Returns where it is reached.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Returns the end of what it logged.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("its log cannot be read: {error}"))
    }

    /// Asks it to end and waits; fails if it did not end well.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.process.stop().await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the server ended with {status}"),
            None => bail!("the server did not end when it was asked to"),
        }
    }

    async fn until_ready(&mut self, start_us: u64) -> Result<()> {
        while !control::is_ok(self.site.api, "/readyz").await {
            if let Some(status) = self.process.find_end()? {
                bail!(
                    "the server ended with {status} instead of starting; its log ends:\n{}",
                    self.log_tail()
                );
            }
            let waited = clock::seconds_between(start_us, clock::now_us());
            if waited > READY_TIMEOUT.as_secs_f64() {
                bail!("the server is not ready after {waited:.0} s; its log ends:\n{}", self.log_tail());
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
        let error =
            Server::start(Path::new("/bin/ls"), &toml::Table::new(), folder.path()).await.err().unwrap();
        let error = error.to_string();
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
