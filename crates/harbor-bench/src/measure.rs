//! One run from the empty server to its figures: set the stage, warm up, measure, let it drain, read.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::measurement::Measurement;
use crate::server::Site;
use crate::settings::{Settings, Workload};
use crate::tls::Identity;
use crate::traffic::{Cast, Traffic};

/// The tenant that is looked at.
pub(crate) const TENANT: &str = "bench";

/// What a run stands on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// This program, which the load and the receiver run too.
    pub program: &'a Path,
    /// A place for files.
    pub folder: &'a Path,
    /// What a receiver proves who it is with, where deliveries travel over TLS.
    pub identity: Option<&'a Identity>,
    /// How long nothing may arrive before what is missing counts as lost.
    pub patience: Duration,
}

/// Measures a workload on a server that is ready.
pub async fn measure(
    site: &Site,
    settings: &Settings,
    workload: &Workload,
    ground: &Ground<'_>,
) -> Result<Measurement> {
    let traffic = Traffic::prepare(site, settings, Cast::healthy(TENANT, workload), ground).await?;
    traffic.preload().await?;
    traffic.warm_up().await?;
    traffic.measure(traffic.pace(workload.duration)).await
}
