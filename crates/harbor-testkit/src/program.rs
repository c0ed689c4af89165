//! The real programs, as processes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::api::Api;

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

/// `harborhook serve --dev` as a process, on a data directory that outlives it.
pub struct Server {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
    /// The address of the ops listener.
    pub ops_address: SocketAddr,
    arguments: Vec<String>,
}

impl Server {
    /// Starts a server on an empty data directory and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with more arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (address, ops_address) = (free_address(), free_address());
        let child = spawn(folder.path(), address, ops_address, &arguments);
        let mut server = Self { child, folder, address, ops_address, arguments };
        server.ready().await;
        server
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
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

    /// Asks the process to end, and waits for it.
    pub async fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().expect("the server runs").to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await.expect("`kill` runs");
        assert!(told.success(), "the server is there to be told");
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the server ends in time").expect("its end is told")
    }

    async fn ready(&mut self) {
        let api = Api::new(&self.base_url(), "nobody");
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
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log has a second handle"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts")
}
