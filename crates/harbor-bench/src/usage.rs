//! What a process used: processor time and memory.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time of all its threads, in user and kernel mode.
    pub cpu_seconds: f64,
    /// The memory that is resident now.
    pub resident_bytes: u64,
    /// The most that ever was; where the system does not keep it, what is resident now.
    pub resident_peak_bytes: u64,
}

impl Usage {
    /// Reads the usage of a process.
    pub(crate) fn of_process(id: u32) -> Result<Self> {
        let folder = Path::new("/proc").join(id.to_string());
        if !Path::new("/proc/self/stat").exists() {
            return Self::from_ps(id);
        }
        let read = |name| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let ticks = parse_stat(&read("stat")?).context("/proc/…/stat has an unknown form")?;
        let status = read("status")?;
        // A process that has ended but was not waited for has no memory lines.
        Ok(Self {
            cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            resident_bytes: parse_status(&status, "VmRSS:").unwrap_or_default(),
            resident_peak_bytes: parse_status(&status, "VmHWM:").unwrap_or_default(),
        })
    }

    /// Asks `ps`, as on macOS, which has no `/proc`.
    fn from_ps(id: u32) -> Result<Self> {
        let output =
            Command::new("ps").args(["-o", "cputime=", "-o", "rss=", "-p", &id.to_string()]).output()?;
        ensure!(output.status.success(), "ps knows no process {id}");
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        parse_ps(&line).with_context(|| format!("ps said {line:?}"))
    }
}

/// Returns user and system time in clock ticks.
fn parse_stat(stat: &str) -> Option<u64> {
    // The second field is the name in parentheses and may hold anything, spaces and parentheses too.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Returns one of the memory sizes of `/proc/PID/status` in bytes.
fn parse_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Reads `[[days-]hours:]minutes:seconds kibibytes`.
fn parse_ps(line: &str) -> Option<Usage> {
    let (time, kibibytes) = line.trim().split_once(char::is_whitespace)?;
    let (days, time) = time.split_once('-').unwrap_or(("0", time));
    let mut cpu_seconds = 0.0;
    for part in time.split(':') {
        cpu_seconds = cpu_seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    let resident_bytes = kibibytes.trim().parse::<u64>().ok()? * 1024;
    Some(Usage {
        cpu_seconds: cpu_seconds + days.parse::<f64>().ok()? * 86_400.0,
        resident_bytes,
        resident_peak_bytes: resident_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_user_and_system_ticks_whatever_the_name() {
        let stat = "4711 (a (b) c) S 1 4711 4711 0 -1 4194560 900 0 0 0 1234 66 7 8 20 0 5 0 100 1000 50";
        assert_eq!(parse_stat(stat), Some(1_300));
        assert_eq!(parse_stat("4711 (short) S 1"), None);
    }

    #[test]
    fn reads_memory_in_bytes() {
        let status = "Name:\tharborhook\nVmHWM:\t   76800 kB\nVmRSS:\t   51200 kB\n";
        assert_eq!(parse_status(status, "VmHWM:"), Some(76_800 * 1024));
        assert_eq!(parse_status(status, "VmRSS:"), Some(51_200 * 1024));
        assert_eq!(parse_status(status, "VmSwap:"), None);
    }

    #[test]
    fn reads_every_form_of_time_that_ps_prints() {
        let check = |line: &str, seconds: f64| {
            let usage = parse_ps(line).unwrap();
            assert!((usage.cpu_seconds - seconds).abs() < 1e-9, "{line:?}: {}", usage.cpu_seconds);
            assert_eq!(usage.resident_bytes, 2_048 * 1024);
        };
        check("  0:01.25   2048\n", 1.25);
        check("12:34.00 2048", 754.0);
        check("01:02:03 2048", 3_723.0);
        check("2-01:00:00 2048", 176_400.0);
        assert_eq!(parse_ps("no process"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = Usage::of_process(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 0);
        assert!(usage.resident_peak_bytes >= usage.resident_bytes);
    }
}
