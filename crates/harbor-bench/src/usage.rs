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
        let stat = parse_stat(&read("stat")?).context("/proc/…/stat has an unknown form")?;
        let status = read("status")?;
        // A process that has ended but was not waited for has no memory lines.
        Ok(Self {
            cpu_seconds: seconds(stat.own_ticks),
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

/// What a group of processes, such as PostgreSQL's, has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct FamilyUsage {
    /// Processor time of the parent and of all its children, those that have ended too.
    pub(crate) cpu_seconds: f64,
    /// What they hold now, what they share counted once.
    pub(crate) memory_bytes: u64,
    /// How the memory was counted.
    pub(crate) memory_measure: MemoryMeasure,
}

/// How the memory of processes that share some was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryMeasure {
    /// Each shared page counts for each of its holders in part: "proportional set size".
    #[default]
    ProportionalSetSize,
    /// What each has alone, and of what they share the most that one of them has touched.
    /// Too small where they have touched different parts.
    PrivateAndLargestShared,
}

impl FamilyUsage {
    /// Reads the usage of a process and its children. Needs `/proc`.
    pub(crate) fn of(parent: u32) -> Result<Self> {
        let (mut ticks, mut family) = (0, Vec::new());
        for (id, stat) in processes()? {
            if id == parent || stat.parent == parent {
                // The time of children that have ended is kept by whom they ended for.
                ticks += stat.own_ticks + stat.ended_children_ticks;
                family.push(id);
            }
        }
        ensure!(family.contains(&parent), "there is no process {parent}");
        let (memory_bytes, memory_measure) = memory_of(&family);
        Ok(Self { cpu_seconds: seconds(ticks), memory_bytes, memory_measure })
    }
}

/// Returns every process that can be seen. One that ends meanwhile is left out.
fn processes() -> Result<Vec<(u32, Stat)>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").context("without /proc, children cannot be found")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok();
        processes.extend(stat.and_then(|stat| parse_stat(&stat)).map(|stat| (id, stat)));
    }
    Ok(processes)
}

/// Returns the parent of a process; `None` if there is no such process.
pub(crate) fn find_parent(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    parse_stat(&stat).map(|stat| stat.parent)
}

fn memory_of(family: &[u32]) -> (u64, MemoryMeasure) {
    let read = |id: &u32, name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}")).ok();
    let proportional: Option<u64> =
        family.iter().map(|id| parse_status(&read(id, "smaps_rollup")?, "Pss:")).sum();
    if let Some(bytes) = proportional {
        return (bytes, MemoryMeasure::ProportionalSetSize);
    }
    // Another user's maps may not be read; sizes may. A process that ended meanwhile has none.
    let sizes = family.iter().filter_map(|id| {
        let status = read(id, "status")?;
        Some((parse_status(&status, "VmRSS:")?, parse_status(&status, "RssShmem:")?))
    });
    let (private, shared) = sizes.fold((0, 0), |(private, shared), (all, shmem)| {
        (private + all.saturating_sub(shmem), shmem.max(shared))
    });
    (private + shared, MemoryMeasure::PrivateAndLargestShared)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// What counts of `/proc/PID/stat`; times are in clock ticks, of user and system together.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    parent: u32,
    own_ticks: u64,
    /// Of children that have ended and were waited for.
    ended_children_ticks: u64,
}

fn parse_stat(stat: &str) -> Option<Stat> {
    // The second field is the name in parentheses and may hold anything, spaces and parentheses too.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let [user, system, ended_user, ended_system] = [9, 0, 0, 0].map(|skipped| {
        let field: Option<u64> = fields.nth(skipped)?.parse().ok();
        field
    });
    Some(Stat { parent, own_ticks: user? + system?, ended_children_ticks: ended_user? + ended_system? })
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
        let expected = Stat { parent: 1, own_ticks: 1_300, ended_children_ticks: 15 };
        assert_eq!(parse_stat(stat), Some(expected));
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_family_is_a_process_and_its_children() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let this = std::process::id();
        let with_child = FamilyUsage::of(this).unwrap();
        assert_eq!(find_parent(child.id()), Some(this));
        child.kill().unwrap();
        child.wait().unwrap();

        assert!(with_child.memory_bytes > 0);
        assert!(
            FamilyUsage::of(this).unwrap().cpu_seconds >= with_child.cpu_seconds,
            "it keeps its child's time"
        );
        assert!(FamilyUsage::of(u32::MAX).is_err());
    }
}
