//! The ops listener: metrics, and whether the instance is alive and ready.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use harbor_deliver::worker::Worker;
use harbor_model::port::deliveries::Backlog;
use harbor_model::time::Clock;
use harbor_observe::logs::Logs;
use harbor_observe::metrics::{Format, Gauges, Metrics};
use harbor_recover::jobs::runner::OpenJobs;
use harbor_store::Store;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use tracing::warn;

/// A scrape waits this long for what it reads from the store, then goes without.
const BACKLOG_TIMEOUT: Duration = Duration::from_secs(1);

/// What a scrape reads.
#[derive(Clone)]
pub(crate) struct Scraped {
    pub(crate) metrics: Arc<Metrics>,
    /// None where this process does not deliver.
    pub(crate) worker: Option<Worker>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) logs: Arc<Logs>,
    /// None where this process carries out no jobs.
    pub(crate) open_jobs: Option<OpenJobs>,
}

/// What the ops listener serves: metrics, and the probes of the API.
pub(crate) fn router(scraped: Scraped, probes: Router) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(scraped).merge(probes)
}

async fn metrics(State(scraped): State<Scraped>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept);
    let text = scraped.metrics.expose(&scraped.gauges().await, format);
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}

impl Scraped {
    async fn gauges(&self) -> Gauges {
        let backlog = self.backlog().await;
        let now = self.clock.now();
        let held = self.worker.as_ref().map(Worker::held).unwrap_or_default();
        Gauges {
            inflight: held.in_flight.try_into().unwrap_or(u64::MAX),
            backlog: backlog.map(|backlog| backlog.due),
            oldest_due: backlog
                .map(|backlog| backlog.oldest_due_at.map_or(Duration::ZERO, |at| now.since(at))),
            jobs_open: self.open_jobs.as_ref().map(|jobs| jobs.count().try_into().unwrap_or(u64::MAX)),
            log_lines_dropped: self.logs.lines_dropped(),
        }
    }

    async fn backlog(&self) -> Option<Backlog> {
        match tokio::time::timeout(BACKLOG_TIMEOUT, self.store.backlog(self.clock.now())).await {
            Ok(Ok(backlog)) => Some(backlog),
            Ok(Err(fault)) => {
                warn!(%fault, "the backlog could not be read for a scrape: {fault}");
                None
            }
            Err(_) => {
                warn!("the backlog was not read for a scrape: the store took too long");
                None
            }
        }
    }
}
