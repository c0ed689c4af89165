//! What a run came to, whatever was done.

use serde::Serialize;

use crate::account::Account;
use crate::backlog::BacklogMeasurement;
use crate::measurement::Measurement;
use crate::noisy::NoisyMeasurement;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// How large the server's program is, in megabytes of 1,000,000 bytes.
    pub program_megabytes: f64,
    /// The mean time of a commit of the server's store, in milliseconds.
    pub commit_mean_ms: Option<f64>,
    /// What was measured.
    pub measured: Measured,
    /// What makes it worthless besides, one sentence each.
    pub faults: Vec<String>,
}

/// What was measured, by what was done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there are a handful of them in a whole session")]
pub enum Measured {
    /// One load.
    Load(Measurement),
    /// A load alone and beside a neighbour.
    Noisy(NoisyMeasurement),
    /// Loads before and beside a backlog.
    Backlog(BacklogMeasurement),
}

impl Findings {
    /// Returns what makes the run worthless, one sentence each; none if it counts.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = match &self.measured {
            Measured::Load(measured) => measured.check.faults(),
            Measured::Noisy(noisy) => noisy.faults(),
            Measured::Backlog(backlog) => backlog.faults(),
        };
        faults.extend(self.faults.iter().cloned());
        faults
    }

    /// Returns the loads with what tells them apart, nothing where there is one.
    pub(crate) fn measurements(&self) -> Vec<(&'static str, &Measurement)> {
        match &self.measured {
            Measured::Load(measured) => vec![("", measured)],
            Measured::Noisy(noisy) => {
                vec![("alone", &noisy.alone), ("beside the neighbour", &noisy.beside)]
            }
            Measured::Backlog(backlog) => backlog.measurements().to_vec(),
        }
    }

    /// Returns the load that a figure without a name of its own is read from: the last.
    pub(crate) fn last(&self) -> &Measurement {
        match &self.measured {
            Measured::Load(measured) => measured,
            Measured::Noisy(noisy) => &noisy.beside,
            Measured::Backlog(backlog) => &backlog.closed_beside,
        }
    }

    /// Returns what became of the events of the other tenant, if there was one.
    pub(crate) fn account(&self) -> Option<&Account> {
        match &self.measured {
            Measured::Load(_) => None,
            Measured::Noisy(noisy) => Some(&noisy.neighbour.account),
            Measured::Backlog(backlog) => Some(&backlog.account),
        }
    }
}
