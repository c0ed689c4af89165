//! Processes of this same program that a measurement starts: the load and the receiver.
//!
//! A child reads its plan as one line of JSON from standard input and writes what it has to say as
//! lines of JSON to standard output. Its standard input stays open as long as its parent lives;
//! when it ends, even because the parent was killed, so does the child.

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::process::Process;

/// A child as its parent sees it; ends when dropped.
pub(crate) struct ChildProgram {
    name: &'static str,
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
    _lifeline: ChildStdin,
}

impl ChildProgram {
    /// Starts this program (`program`) with a subcommand and hands it its plan.
    pub(crate) async fn start(program: &Path, name: &'static str, plan: &impl Serialize) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command)?;
        let mut lifeline = process.stdin().expect("it was piped");
        let lines = BufReader::new(process.stdout().expect("it was piped")).lines();

        let mut line = serde_json::to_vec(plan)?;
        line.push(b'\n');
        lifeline.write_all(&line).await.with_context(|| format!("the {name} took no plan"))?;
        Ok(Self { name, process, lines, _lifeline: lifeline })
    }

    /// Waits for the next thing that the child says.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let name = self.name;
        let line = self.lines.next_line().await?.with_context(|| format!("the {name} ended too early"))?;
        serde_json::from_str(&line).with_context(|| format!("the {name} said {line:?}"))
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Reads, in a child, the plan of its parent, and from then on ends this process when the parent does.
pub(crate) fn plan<T: DeserializeOwned>() -> Result<T> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let plan =
        serde_json::from_str(&line).context("this is started by the other subcommands, with a plan")?;

    std::thread::spawn(|| {
        // Nothing more is ever written: this returns when the parent is gone.
        let _ = std::io::stdin().lock().read(&mut [0]);
        std::process::exit(1);
    });
    Ok(plan)
}

/// Says, in a child, something to its parent.
pub(crate) fn say(line: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}
