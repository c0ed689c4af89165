//! A tenant before and after another's backlog, and how soon it is served again after a crash.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::account::{self, Account};
use crate::load;
use crate::measure::{Ground, TENANT};
use crate::measurement::Measurement;
use crate::noisy::latency_ratio;
use crate::server::{Launch, Server, Site};
use crate::settings::{Backlog, Hold, Settings, Workload};
use crate::stage;
use crate::traffic::{Cast, Traffic};

const OTHER: &str = "backlog";
/// Longer than any run: an endpoint that answers after it never does.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the first delivery after a crash is waited for.
const FIRST_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_POLL: Duration = Duration::from_millis(20);

/// What it came to.
#[derive(Clone, Debug, Serialize)]
pub struct BacklogMeasurement {
    /// The tenant at its rate, before.
    pub rate_before: Measurement,
    /// The tenant in a closed loop, before.
    pub closed_before: Measurement,
    /// The tenant at its rate, beside the backlog.
    pub rate_beside: Measurement,
    /// The tenant in a closed loop, beside the backlog.
    pub closed_beside: Measurement,
    /// How long it took to heap the backlog up.
    pub heap_seconds: f64,
    /// Events of the backlog that were answered 429 and sent again, each time that they were.
    pub sent_again: u64,
    /// From the start after `kill -9` to readiness.
    pub restart_ready_seconds: f64,
    /// The same, and from then to the arrival of an event that is published at once.
    pub restart_delivery_seconds: f64,
    /// What became of the backlog, after the crash.
    pub account: Account,
}

/// Measures a tenant before and beside a backlog, then kills the server and starts it again.
pub(crate) async fn measure(
    server: &mut Server,
    launch: &Launch<'_>,
    settings: &Settings,
    backlog: &Backlog,
    ground: &Ground<'_>,
) -> Result<BacklogMeasurement> {
    let site = server.site().clone();
    let workload = &backlog.workload;
    let mut tenant = Traffic::prepare(&site, settings, Cast::healthy(TENANT, workload), ground).await?;
    tenant.preload().await?;
    tenant.warm_up().await?;
    let closed = load::Pace::Closed { duration: workload.duration };
    let rate_before = tenant.measure(tenant.pace(workload.duration)).await?;
    let closed_before = tenant.measure(closed).await?;

    let heaped = Workload { payload_bytes: workload.payload_bytes, ..Workload::default() };
    let other = other(&site, settings, backlog, &heaped, ground).await?;
    let heap = other.heap(backlog.deliveries).await?;
    let rate_beside = tenant.measure(tenant.pace(workload.duration)).await?;
    let closed_beside = tenant.measure(closed).await?;

    server.crash_and_start(launch).await?;
    let site = server.site().clone();
    let restart_ready_seconds = site.ready_seconds.expect("it was just started");
    tenant.follow(&site);
    let restart_delivery_seconds = restart_ready_seconds + first_delivery_seconds(&tenant).await?;
    let account = account::take(&site, &other.tenants()[0], &other.acknowledged(0)?).await?;
    Ok(BacklogMeasurement {
        rate_before,
        closed_before,
        rate_beside,
        closed_beside,
        heap_seconds: heap.seconds,
        sent_again: heap.sent_again,
        restart_ready_seconds,
        restart_delivery_seconds,
        account,
    })
}

/// Sets up the tenant whose deliveries wait.
async fn other<'a>(
    site: &Site,
    settings: &Settings,
    backlog: &Backlog,
    workload: &'a Workload,
    ground: &'a Ground<'a>,
) -> Result<Traffic<'a>> {
    let cast = Cast { name: OTHER, workload, answers_after: NEVER, urls_elsewhere: Vec::new() };
    let other = Traffic::prepare(site, &settings.with_endpoint(&backlog.endpoint), cast, ground).await?;
    match backlog.hold {
        Hold::Silent => {}
        Hold::Paused => {
            let tenant = &other.tenants()[0];
            stage::pause(site, tenant, &tenant.endpoint_ids[0]).await?;
        }
    }
    Ok(other)
}

/// Publishes one event and returns how long it took to arrive.
async fn first_delivery_seconds(tenant: &Traffic<'_>) -> Result<f64> {
    tenant.reset().await?;
    tenant.publish(load::Pace::Count { events: 1, within: FIRST_TIMEOUT }).await?;
    let start = Instant::now();
    loop {
        let stats = tenant.stats().await?;
        if stats.distinct > 0 {
            return Ok(stats.latency.max_ms / 1e3);
        }
        ensure!(start.elapsed() < FIRST_TIMEOUT, "nothing fresh was delivered after the crash");
        tokio::time::sleep(FIRST_POLL).await;
    }
}

impl BacklogMeasurement {
    /// Returns how much longer the slowest answers took beside the backlog, at the tenant's rate.
    #[must_use]
    pub fn ack_p99_ratio(&self) -> f64 {
        latency_ratio(self.rate_before.ack.p99_ms, self.rate_beside.ack.p99_ms)
    }

    /// Returns how much longer the slowest deliveries took beside the backlog, at the tenant's rate.
    #[must_use]
    pub fn end_to_end_p99_ratio(&self) -> f64 {
        latency_ratio(self.rate_before.end_to_end.p99_ms, self.rate_beside.end_to_end.p99_ms)
    }

    /// The same in a closed loop.
    #[must_use]
    pub fn closed_end_to_end_p99_ratio(&self) -> f64 {
        latency_ratio(self.closed_before.end_to_end.p99_ms, self.closed_beside.end_to_end.p99_ms)
    }

    /// Returns the measurements with what they are called, in the order in which they were made.
    pub(crate) fn measurements(&self) -> [(&'static str, &Measurement); 4] {
        [
            ("rate, before", &self.rate_before),
            ("closed loop, before", &self.closed_before),
            ("rate, beside the backlog", &self.rate_beside),
            ("closed loop, beside the backlog", &self.closed_beside),
        ]
    }

    /// Returns what makes the run worthless, one sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<_> =
            self.measurements().iter().flat_map(|(_, measured)| measured.check.faults()).collect();
        faults.extend(self.account.faults().iter().map(|fault| format!("of the backlog, {fault}")));
        faults
    }
}
