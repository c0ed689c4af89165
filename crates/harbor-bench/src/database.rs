//! A new database of a PostgreSQL server for each run, and what that server's processes use.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use url::Url;

use crate::report;
use crate::usage::find_parent;

/// Where Debian keeps PostgreSQL's programs, a folder for each version.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";
const PORT: u16 = 5432;
/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A database of a run's own; dropped with it.
pub(crate) struct Database {
    server: Url,
    name: String,
    postmaster: Option<u32>,
}

impl Database {
    /// Makes a database on the server that a URL names.
    pub(crate) fn create(server: &str) -> Result<Self> {
        let server = Url::parse(server).context("the database's URL cannot be read")?;
        let name = format!("harbor_bench_{}_{}", std::process::id(), crate::clock::now_us());
        run("createdb", &[&format!("--maintenance-db={server}"), &name])?;
        let postmaster = find_postmaster(&server);
        if postmaster.is_none() {
            report::note("PostgreSQL runs elsewhere or as somebody else: what it uses is not counted.");
        }
        Ok(Self { server, name, postmaster })
    }

    /// Returns the URL of the database.
    pub(crate) fn url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// Returns the process that is the parent of all of PostgreSQL's, where it can be seen.
    pub(crate) fn postmaster(&self) -> Option<u32> {
        self.postmaster
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let maintenance = format!("--maintenance-db={}", self.server);
        // By force: a server that was killed may still be connected for a moment.
        if let Err(error) = run("dropdb", &["--force", &maintenance, &self.name]) {
            report::note(&format!("the database {} remains: {error:#}", self.name));
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = match output(Path::new(program), arguments) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Some(path) = find_in_debian(program) else {
                bail!("{program} of PostgreSQL is neither in the PATH nor in {DEBIAN_FOLDER}")
            };
            output(&path, arguments)
        }
        output => output,
    };
    let output = output.with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn output(program: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program).args(arguments).output()
}

/// Returns a program of the newest version.
fn find_in_debian(program: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN_FOLDER).ok()?.filter_map(Result::ok);
    let paths = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        Some((number, version.path().join("bin").join(program)))
    });
    paths.filter(|(_, path)| path.exists()).max().map(|(_, path)| path)
}

/// Finds the process that listens where a URL points, on this machine.
fn find_postmaster(server: &Url) -> Option<u32> {
    let is_here = match server.host_str()? {
        "localhost" => true,
        host => host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    };
    if !is_here {
        return None;
    }
    let port = server.port().unwrap_or(PORT);
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).ok());
    let inodes: Vec<_> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .filter_map(|line| inode(line, port))
        .collect();
    let holders: Vec<_> = process_ids().into_iter().filter(|id| holds(*id, &inodes)).collect();
    // Children inherit what their parent listens on.
    holders.iter().copied().find(|id| find_parent(*id).is_none_or(|parent| !holders.contains(&parent)))
}

/// Reads the inode of a socket out of a line of `/proc/net/tcp`, if it listens on a port.
fn inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_it = *fields.get(3)? == LISTENING && u16::from_str_radix(local_port, 16) == Ok(port);
    is_it.then_some(format!("socket:[{}]", fields.get(9)?))
}

fn process_ids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a process holds one of these sockets; `false` where that may not be looked at.
fn holds(process: u32, inodes: &[String]) -> bool {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().filter_map(Result::ok);
    files
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn only_a_socket_that_listens_on_the_port_is_meant() {
        let line = |state: &str| {
            format!(
                "   0: 0100007F:1538 00000000:0000 {state} 00000000:00000000 00:00000000 00000000   106        0 4711 1 0"
            )
        };
        assert_eq!(inode(&line("0A"), 5432).as_deref(), Some("socket:[4711]"));
        assert_eq!(inode(&line("0A"), 5433), None);
        assert_eq!(inode(&line("01"), 5432), None);
        assert_eq!(inode("  sl  local_address rem_address   st", 5432), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_that_listens_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let at = |host: &str| Url::parse(&format!("postgres://harborhook@{host}:{port}/postgres")).unwrap();
        assert_eq!(find_postmaster(&at("127.0.0.1")), Some(std::process::id()));
        assert_eq!(find_postmaster(&at("localhost")), Some(std::process::id()));
        assert_eq!(find_postmaster(&at("192.0.2.1")), None, "that is another machine");
    }

    /// Returns the PostgreSQL server of the test run; `None` where there is none.
    #[expect(clippy::disallowed_methods, reason = "scripts/services tells tests of their server so")]
    fn find_server() -> Option<String> {
        let url = std::env::var("HARBORHOOK_TEST_POSTGRES_URL").ok();
        assert!(url.is_some() || std::env::var_os("CI").is_none(), "CI has a PostgreSQL");
        url
    }

    #[test]
    fn a_database_lasts_as_long_as_it_is_held() {
        let Some(server) = find_server() else {
            println!("skipped: no PostgreSQL");
            return;
        };
        let database = Database::create(&server).unwrap();
        let (url, name) = (database.url(), database.name.clone());
        assert!(url.contains(&name), "{url}");
        let again = run("createdb", &[&format!("--maintenance-db={server}"), &name]).unwrap_err();
        assert!(again.to_string().contains("already exists"), "{again}");

        drop(database);
        let maintenance = format!("--maintenance-db={server}");
        let gone = run("dropdb", &[&maintenance, &name]).unwrap_err();
        assert!(gone.to_string().contains("does not exist"), "{gone}");
    }
}
