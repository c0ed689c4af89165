//! The machine that a run was made on.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use crate::probe;

/// What the figures of a run depend on besides the program.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// The processor's name.
    pub processor: String,
    /// The kernel and its release.
    pub kernel: String,
    /// 4 KiB appends that the disk syncs in a second.
    pub syncs_per_second: f64,
}

impl Machine {
    /// Looks at this machine and, for a second, at the disk that holds a folder.
    pub fn probe(folder: &Path) -> Result<Self> {
        let uname = rustix::system::uname();
        let words = [uname.sysname(), uname.release(), uname.machine()].map(|word| word.to_string_lossy());
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: processor().unwrap_or_else(|| "unknown processor".to_owned()),
            kernel: words.join(" "),
            syncs_per_second: probe::syncs_per_second(folder)?,
        })
    }
}

fn processor() -> Option<String> {
    if let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") {
        return parse_cpuinfo(&text);
    }
    // Where there is no /proc, as on macOS.
    let output = Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn parse_cpuinfo(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_processor() {
        let text =
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor @ 2.60GHz\n";
        assert_eq!(parse_cpuinfo(text).as_deref(), Some("Intel(R) Xeon(R) Processor @ 2.60GHz"));
        assert_eq!(parse_cpuinfo("CPU architecture: 8\n"), None);
    }
}
