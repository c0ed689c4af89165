//! The real programs, as processes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::api::Api;
use crate::services::TestDatabase;
use crate::stores;

/// How long a program may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition that no event tells of is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// The program of this name, built in the same profile as the running test.
///
/// # Panics
/// Where it was not built.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.parent().and_then(Path::parent).expect("a test lies in the target folder");
    let path = profile.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace --bins`", path.display());
    path
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates lie two folders deep");
    root.to_path_buf()
}

/// An address on loopback that nobody listens on.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address")
}

/// Says that a test cannot run for want of `what`. In CI that is a failure: nothing is skipped in silence.
pub fn skip(what: &str) {
    #[expect(clippy::disallowed_methods, reason = "whether this is CI is not a setting of the program")]
    let is_ci = std::env::var_os("CI").is_some();
    #[expect(clippy::print_stdout, reason = "the run shows what was skipped")]
    {
        println!("skipped: no {what}");
    }
    assert!(!is_ci, "skipped: no {what}");
}

/// `harborhook serve --dev` as a process, on a data directory that outlives it and on the store that this
/// run is about.
pub struct Server {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
    /// The address of the ops listener.
    pub ops_address: SocketAddr,
    arguments: Vec<String>,
    /// Dropped after the process; none where the store is in the folder or somebody else's.
    database: Option<TestDatabase>,
}

/// The master key of servers that share a database: 32 bytes in hexadecimal. It protects nothing.
const SHARED_MASTER_KEY: &str = "6861726265722d686f6f6b2d746573742d6d61737465722d6b65792d33322d62";

impl Server {
    /// Starts a server on an empty store and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server on an empty store, with more arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let database = stores::database_if_any().await;
        let url = database.as_ref().map(TestDatabase::url);
        Self::launch(arguments, url.as_deref(), database).await
    }

    /// Starts one of several servers on the database at `url`, with more arguments.
    pub async fn start_on(url: &str, arguments: &[&str]) -> Self {
        Self::launch(arguments, Some(url), None).await
    }

    async fn launch(arguments: &[&str], url: Option<&str>, database: Option<TestDatabase>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let url = url.map(|url| ["--database-url", url]);
        let arguments = arguments.iter().copied().chain(url.into_iter().flatten());
        let arguments = arguments.map(str::to_owned).collect();
        let (address, ops_address) = (free_address(), free_address());
        let child = spawn(folder.path(), address, ops_address, &arguments);
        let mut server = Self { child, folder, address, ops_address, arguments, database };
        server.ready().await;
        server
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of the server's own database; none where the store is in the data directory.
    pub fn database_url(&self) -> Option<String> {
        self.database.as_ref().map(TestDatabase::url)
    }

    /// Where the API listens.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `dev-credentials.json` says.
    pub fn credentials(&self) -> Value {
        let text = std::fs::read(self.data_dir().join("dev-credentials.json")).expect("the server wrote it");
        serde_json::from_slice(&text).expect("the file is JSON")
    }

    /// The API with the key of the demo tenant's admin.
    pub fn api(&self) -> Api {
        self.api_as("api_key")
    }

    /// The API with the operator's key.
    pub fn operator(&self) -> Api {
        self.api_as("operator_key")
    }

    fn api_as(&self, key: &str) -> Api {
        Api::new(&self.base_url(), self.credentials()[key].as_str().expect("a key is text"))
    }

    /// Ends the process as a power cut would, between two instructions.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the server is ours to kill");
    }

    /// Starts the server again on the same data directory and the same addresses, after its end.
    pub async fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.address, self.ops_address, &self.arguments);
        self.ready().await;
    }

    /// Stops the process between two instructions, until [`Server::thaw`].
    pub async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// Lets a frozen process go on.
    pub async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("the server runs").to_string();
        let told = Command::new("kill").args([signal, &pid]).status().await.expect("`kill` runs");
        assert!(told.success(), "the server is there to be told");
    }

    /// Asks the process to end, and waits for it.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("-TERM").await;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the server ends in time").expect("its end is told")
    }

    async fn ready(&mut self) {
        // Every process says on its ops listener whether it is ready, whatever its roles.
        let api = Api::new(&format!("http://{}", self.ops_address), "nobody");
        let is_ready = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("the server's state is told") {
                    panic!("the server ended before it was ready: {status}");
                }
                let readyz = api.try_send(http::Method::GET, "/readyz", &[], bytes::Bytes::new()).await;
                if readyz.is_ok_and(|reply| reply.status == 200) {
                    return;
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, is_ready).await.expect("the server is ready in time");
    }
}

fn spawn(data_dir: &Path, address: SocketAddr, ops_address: SocketAddr, arguments: &Vec<String>) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data_dir.join("test-server.log"));
    let log = log.expect("the log opens");
    Command::new(program("harborhook"))
        .args(["serve", "--dev", "--listen", &address.to_string(), "--ops-listen", &ops_address.to_string()])
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .env_clear()
        .env("HARBORHOOK_MASTER_KEY", SHARED_MASTER_KEY)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log has a second handle"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts")
}
