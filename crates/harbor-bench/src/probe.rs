//! How fast the disk syncs: absolute figures move with it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const DURATION: Duration = Duration::from_secs(1);
const APPEND_BYTES: usize = 4096;

/// Appends 4 KiB at a time to a file in a folder, each synced, for a second, and returns how many fit in one.
pub fn syncs_per_second(folder: &Path) -> Result<f64> {
    let path = folder.join("sync-probe");
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let start = Instant::now();
    let mut syncs = 0;
    while start.elapsed() < DURATION {
        file.write_all(&[b'x'; APPEND_BYTES])?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / start.elapsed().as_secs_f64();
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(rate)
}
