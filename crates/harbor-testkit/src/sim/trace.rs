//! What happened, line by line: the last lines for people, all of them as one number for comparison.

use std::collections::VecDeque;
use std::fmt;

use harbor_model::time::Timestamp;

/// How many lines are kept to be shown.
const LINES_SHOWN_MAX: usize = 120;

/// What happened.
#[derive(Debug)]
pub(crate) struct Trace {
    began: Timestamp,
    step: usize,
    lines: VecDeque<String>,
    is_whole: bool,
    hash: u64,
}

impl Trace {
    /// Nothing yet. One that is whole keeps every line.
    pub(crate) fn new(began: Timestamp, is_whole: bool) -> Self {
        Self { began, step: 0, lines: VecDeque::new(), is_whole, hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Which step this is.
    pub(crate) fn step(&self) -> usize {
        self.step
    }

    /// Begins a step.
    pub(crate) fn begin_step(&mut self) {
        self.step += 1;
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, now: Timestamp, text: fmt::Arguments<'_>) {
        let seconds = now.since(self.began).as_secs_f64();
        let line = format!("{:>5} {seconds:>11.3}  {text}", self.step);
        for byte in line.bytes() {
            // FNV-1a, by Glenn Fowler, Landon Curt Noll and Kiem-Phong Vo.
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.lines.len() == LINES_SHOWN_MAX && !self.is_whole {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// A number that is the same for the same lines.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines that are kept.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}
