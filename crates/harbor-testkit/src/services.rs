//! The PostgreSQL that tests share, and a database of its own for each test.
//!
//! `scripts/services run` starts the server and says in `HARBORHOOK_TEST_POSTGRES_URL` where it is.
//! Where there is none, a test says `skipped: no PostgreSQL` and returns; in CI that is a failure.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio_postgres::NoTls;

use crate::program::{repository, skip};

/// How long a database may take to be made or dropped.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database on the shared server that one test has for itself. It is dropped with this value,
/// whoever is still connected to it.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server_url: String,
}

impl TestDatabase {
    /// Makes an empty database; none where there is no server, which the run says.
    ///
    /// # Panics
    /// In CI where there is no server.
    pub async fn create() -> Option<Self> {
        Self::from_template("template0").await
    }

    /// Makes a copy of the database of this name, to which nobody may be connected meanwhile;
    /// none where there is no server, which the run says.
    ///
    /// # Panics
    /// In CI where there is no server.
    pub async fn from_template(template: &str) -> Option<Self> {
        let Some(server_url) = server_url() else {
            skip("PostgreSQL");
            return None;
        };
        Some(Self::create_on(&server_url, template).await)
    }

    /// The name, by which it can be another's template.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the database, user and password included.
    pub fn url(&self) -> String {
        database_url(&self.server_url, &self.name)
    }

    async fn create_on(server_url: &str, template: &str) -> Self {
        // The server draws the name, so that runs that share a server do not meet.
        let drawn = ask(server_url, "SELECT 'test_' || replace(gen_random_uuid()::text, '-', '')").await;
        let name = drawn.expect("a query returns its row");
        ask(server_url, &format!(r#"CREATE DATABASE "{name}" TEMPLATE "{template}""#)).await;
        Self { name, server_url: server_url.to_owned() }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!(r#"DROP DATABASE IF EXISTS "{}" WITH (FORCE)"#, self.name);
        let server_url = self.server_url.clone();
        // The runtime of the test cannot be waited for here, and may be gone.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(ask(&server_url, &statement));
        });
        // A server that is too busy to drop it has said nothing about what was tested.
        let _ = dropping.join();
    }
}

/// A PostgreSQL of its own for a test that must crash it, which would fail the tests beside it on a shared one.
#[derive(Debug)]
pub struct OwnServer {
    folder: TempDir,
    url: String,
}

impl OwnServer {
    /// Starts a server; none where there is no shared one either, which the run says.
    ///
    /// # Panics
    /// In CI where there is no shared server.
    pub async fn start() -> Option<Self> {
        if server_url().is_none() {
            skip("PostgreSQL");
            return None;
        }
        let folder = TempDir::new().expect("a temporary folder");
        let told = Command::new(script()).arg("start").arg(folder.path()).output().await;
        let told = told.expect("the script runs");
        assert!(
            told.status.success(),
            "PostgreSQL does not start: {}",
            String::from_utf8_lossy(&told.stderr)
        );
        let told = String::from_utf8(told.stdout).expect("the script writes text");
        let url = told.trim().strip_prefix("export HARBORHOOK_TEST_POSTGRES_URL=");
        let url = url.expect("the script tells where the server is").to_owned();
        Some(Self { folder, url })
    }

    /// The URL of its first database, user and password included.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes an empty database on it and returns its URL.
    pub async fn create_database(&self, name: &str) -> String {
        ask(&self.url, &format!(r#"CREATE DATABASE "{name}" TEMPLATE template0"#)).await;
        database_url(&self.url, name)
    }

    /// Ends all its processes as a crash would, and starts it again at the same address:
    /// what was committed is there, who was connected is not. Returns when it takes connections.
    pub async fn restart(&self) {
        let status = Command::new(script()).arg("restart").arg(self.folder.path()).status().await;
        assert!(status.expect("the script runs").success(), "PostgreSQL does not start again");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let status = std::process::Command::new(script()).arg("stop").arg(self.folder.path()).status();
        if !std::thread::panicking() {
            assert!(status.expect("the script runs").success(), "PostgreSQL does not stop");
        }
    }
}

/// Where the shared server is, as a URL of a database that always exists.
fn server_url() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "where the services are is not a setting of the program")]
    let url = std::env::var("HARBORHOOK_TEST_POSTGRES_URL");
    url.ok().filter(|url| !url.is_empty())
}

/// The URL of another database on the same server.
fn database_url(server_url: &str, name: &str) -> String {
    let (address, parameters) = match server_url.split_once('?') {
        Some((address, parameters)) => (address, format!("?{parameters}")),
        None => (server_url, String::new()),
    };
    let (server, _) = address.rsplit_once('/').expect("the URL of PostgreSQL names a database");
    format!("{server}/{name}{parameters}")
}

/// Runs one statement on a connection of its own. Returns the first value of what it answers, if it is text.
async fn ask(url: &str, statement: &str) -> Option<String> {
    let asked = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let answer = async {
            let answer = client.simple_query(statement).await;
            // Ends the connection, which is driven beside this.
            drop(client);
            answer
        };
        let (answer, ended) = tokio::join!(answer, connection);
        let answer = answer?;
        ended?;
        Ok::<_, tokio_postgres::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    let answer = answer.expect("PostgreSQL answers in time").expect("PostgreSQL does what it is asked");
    answer.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

fn script() -> PathBuf {
    repository().join("scripts/services")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_has_the_url_of_the_first_but_for_its_name() {
        let check = |url, expected: &str| assert_eq!(database_url(url, "test_1"), expected, "{url}");
        check("postgres://u:p@127.0.0.1:5/postgres", "postgres://u:p@127.0.0.1:5/test_1");
        check("postgres://u@h/a?sslmode=disable", "postgres://u@h/test_1?sslmode=disable");
    }

    #[tokio::test]
    async fn a_database_is_a_copy_and_is_gone_after_the_test() {
        let Some(first) = TestDatabase::create().await else { return };
        ask(&first.url(), "CREATE TABLE fruit AS SELECT 'pear' AS name").await;
        let copy = TestDatabase::from_template(first.name()).await.unwrap();
        ask(&copy.url(), "UPDATE fruit SET name = 'plum'").await;

        assert_eq!(ask(&first.url(), "SELECT name FROM fruit").await.as_deref(), Some("pear"));
        assert_eq!(ask(&copy.url(), "SELECT name FROM fruit").await.as_deref(), Some("plum"));

        let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", copy.name());
        assert_eq!(ask(&first.url(), &count).await.as_deref(), Some("1"));
        // Somebody is still connected.
        let (_client, connection) = tokio_postgres::connect(&copy.url(), NoTls).await.unwrap();
        drop(copy);
        assert_eq!(ask(&first.url(), &count).await.as_deref(), Some("0"));
        drop(connection);
    }

    #[tokio::test]
    async fn an_own_server_keeps_what_was_committed_over_a_crash() {
        let Some(server) = OwnServer::start().await else { return };
        let url = server.create_database("orchard").await;
        ask(&url, "CREATE TABLE fruit AS SELECT 'pear' AS name").await;
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();

        server.restart().await;

        assert!(connection.await.is_err(), "who was connected is not");
        drop(client);
        assert_eq!(ask(&url, "SELECT name FROM fruit").await.as_deref(), Some("pear"));
    }
}
