//! Starts the real program, and ends it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far longer than anything here takes, so that a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these arguments and nothing of our environment.
pub(crate) fn harborhook(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harborhook"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// A daemon that serves.
pub(crate) struct Daemon {
    child: Child,
    /// Its log, line by line.
    log: BufReader<std::process::ChildStderr>,
    /// Where its API listens.
    pub(crate) api: SocketAddr,
    /// Where its metrics are.
    pub(crate) ops: SocketAddr,
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `serve` on free ports, in this data directory.
pub(crate) fn serve(data_dir: &Path) -> Command {
    let mut command = harborhook(&["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(data_dir);
    command
}

/// Starts the daemon and waits until its log says that it is ready.
pub(crate) fn start(mut command: Command) -> Daemon {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let ready = find_line(&mut log, "is ready at");
    let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
    let (api, ops) = (address("api_address"), address("ops_address"));
    Daemon { child, log, api, ops }
}

/// Reads the log until a line's message holds `part`.
fn find_line(log: &mut impl BufRead, part: &str) -> Value {
    let mut seen = String::new();
    loop {
        let begin = seen.len();
        assert!(log.read_line(&mut seen).unwrap() > 0, "the log ends before `{part}`:\n{seen}");
        let Ok(line) = serde_json::from_str::<Value>(&seen[begin..]) else { continue };
        if line["message"].as_str().is_some_and(|message| message.contains(part)) {
            return line;
        }
    }
}

impl Daemon {
    /// Waits for a line of the log.
    pub(crate) fn logs(&mut self, part: &str) -> Value {
        find_line(&mut self.log, part)
    }

    /// Sends a signal, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Asks the daemon to end, and waits until it has.
    pub(crate) fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until the daemon has ended.
    pub(crate) fn wait(mut self) -> Ended {
        let began = Instant::now();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.log.read_to_string(&mut stderr).unwrap();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert!(began.elapsed() < PATIENCE, "the daemon took {:?} to end", began.elapsed());
        Ended { status: self.child.wait().unwrap(), stdout, stderr }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is left running after a test that failed. One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for a path; answers status and body.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    request(address, "GET", path, headers, "")
}

/// Makes a request on a connection of its own; answers status and body.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\
         {headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// What a file in the data directory holds, as JSON.
pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
