//! A disk that syncs more slowly than the one that is here: a library that waits before each sync.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const SOURCE: &str = include_str!("sync_delay.c");
const DELAY: &str = "HARBOR_BENCH_SYNC_DELAY_US";

/// What makes the syncs of a process slow.
#[derive(Clone, Debug)]
pub(crate) struct SlowDisk {
    library: PathBuf,
    delay: Duration,
}

impl SlowDisk {
    /// Builds the library in a folder.
    pub(crate) fn build(folder: &Path, delay: Duration) -> Result<Self> {
        ensure!(cfg!(target_os = "linux"), "syncs can be delayed on Linux only");
        let (source, library) = (folder.join("sync_delay.c"), folder.join("sync_delay.so"));
        std::fs::write(&source, SOURCE)?;
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source);
        let output = command.output().context("cannot start cc, which builds what delays syncs")?;
        ensure!(
            output.status.success(),
            "what delays syncs does not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self { library, delay })
    }

    /// Returns what the environment of the process must hold.
    pub(crate) fn environment(&self) -> [(&'static str, OsString); 2] {
        [
            ("LD_PRELOAD", self.library.clone().into_os_string()),
            (DELAY, self.delay.as_micros().to_string().into()),
        ]
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_sync_takes_at_least_the_delay() {
        let folder = tempfile::tempdir().unwrap();
        let slow = SlowDisk::build(folder.path(), Duration::from_millis(200)).unwrap();
        let start = Instant::now();
        let status = Command::new("sync")
            .arg("--data")
            .arg(folder.path().join("sync_delay.c"))
            .envs(slow.environment())
            .status()
            .unwrap();
        assert!(status.success());
        assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    }
}
