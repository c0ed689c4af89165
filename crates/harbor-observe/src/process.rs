//! What the operating system knows of this process.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What this process uses. What the system does not tell is `None`: there is no `/proc` on macOS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// Processor time since the start, of all threads, in user and system mode.
    pub(crate) cpu: Duration,
    /// Memory that is resident.
    pub(crate) resident_bytes: Option<u64>,
    /// File descriptors that are open.
    pub(crate) open_fds: Option<u64>,
    /// File descriptors that may be open.
    pub(crate) max_fds: Option<u64>,
}

impl Usage {
    /// Asks the operating system.
    pub(crate) fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            resident_bytes: resident_bytes(),
            open_fds: open_fds(),
            max_fds: max_fds(),
        }
    }
}

/// The second number of `statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

fn open_fds() -> Option<u64> {
    // Reading the directory opens one more, which is not ours.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(count).ok()
}

/// The soft limit: the fourth word of `Max open files  1024  4096  files`.
fn max_fds() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::now();
        assert!(usage.cpu > Duration::ZERO);
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(usage.open_fds.is_some_and(|count| count >= 3));
        assert!(usage.max_fds >= usage.open_fds);
    }
}
