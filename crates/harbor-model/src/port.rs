//! Ports: what the engine asks of a store, in the words of this crate.
//!
//! One method is one transaction; no handle, pool or `begin` crosses the line. Hot ports take
//! batches and answer item by item, because a hop costs more than a row.

pub mod api_keys;
pub mod breakers;
pub mod deliveries;
pub mod directory;
pub mod handoff;
pub mod history;
pub mod intake;
pub mod interventions;
pub mod jobs;
pub mod lanes;
pub mod notices;
pub mod observer;
pub mod page;
pub mod quotas;
pub mod registry;
pub mod sources;
pub mod upkeep;
pub mod workers;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Says that what lies beneath failed: the database is away, the disk is full. Nothing the caller did.
///
/// Cheap to clone, since one failed transaction answers all that were in it.
#[derive(Clone, Debug)]
pub struct Fault {
    context: &'static str,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault with what was being done and why it failed.
    pub fn new(context: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { context, source: Some(Arc::from(source.into())) }
    }

    /// A fault without a deeper cause.
    pub fn bare(context: &'static str) -> Self {
        Self { context, source: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.context),
            None => f.write_str(self.context),
        }
    }
}

impl Error for Fault {}
