//! A child process that never outlives this one.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a process may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a drop waits for a killed process, so that its files can be removed after it.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);
const KILL_POLL: Duration = Duration::from_millis(2);

/// A child process in a process group of its own, which is killed as a whole on drop.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
}

impl Process {
    /// Starts a command.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        // In a group of its own, Ctrl-C reaches only this program, which then ends its children in order.
        let child = command.kill_on_drop(true).process_group(0).spawn();
        let program = command.as_std().get_program();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        let id = child.id().context("it ended at once")?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("its id is out of range")?;
        Ok(Self { child, pid })
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Takes its standard input, once, if it was piped.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Takes its standard output, once, if it was piped.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Returns how it ended; `None` while it runs.
    pub(crate) fn find_end(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end and waits until it has; `None` if it did not and has to be killed.
    pub(crate) async fn stop(mut self) -> Result<Option<ExitStatus>> {
        if self.find_end()?.is_none() {
            kill_process(self.pid, Signal::TERM)?;
        }
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) => Ok(Some(status?)),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once it was waited for, its id may belong to somebody else.
        if self.child.id().is_none() {
            return;
        }
        // It may have ended in this moment.
        let _ = kill_process_group(self.pid, Signal::KILL);
        for _ in 0..KILL_TIMEOUT.as_millis() / KILL_POLL.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(KILL_POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("60").stdin(Stdio::null());
        command
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let process = Process::start(sleeper()).unwrap();
        let pid = process.pid;
        drop(process);
        assert!(kill_process(pid, Signal::TERM).is_err(), "nobody bears its id");
    }

    #[tokio::test]
    async fn a_process_ends_when_it_is_asked_to() {
        let status = Process::start(sleeper()).unwrap().stop().await.unwrap().unwrap();
        assert!(!status.success(), "the signal ended it");
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named() {
        let error = Process::start(Command::new("/no/such/program")).err().unwrap();
        assert_eq!(error.to_string(), "cannot start /no/such/program");
    }
}
