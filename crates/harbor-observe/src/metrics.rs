//! Metrics: counts what the engine does, and writes it down for Prometheus.
//!
//! Counting happens on the way of every event, tens of thousands of times a second: a look-up and an
//! addition, without allocation and without a lock that a scrape could hold for long.

mod exposition;
mod label;

pub use exposition::Format;

use std::time::Duration;

use harbor_model::attempt::ErrorClass;
use harbor_model::delivery::Cause;
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::{EndpointId, TenantId};
use harbor_model::invalid::FieldError;
use harbor_model::port::breakers::BreakerState;
use harbor_model::port::observer::{
    AttemptSeen, BreakerSeen, CommitSeen, DisabledSeen, EndSeen, Observer, PublishResult, PublishSeen,
    ReceiveResult, ReceiveSeen, ThrottleSeen,
};
use harbor_model::time::Timestamp;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::label::{
    AttemptLabels, BuildLabels, Capped, DeliveryLabels, EndpointPart, IngestLabels, ReasonLabels,
    ResultLabels, StateLabels, TenantLabels,
};
use crate::process::Usage;

/// How much the metrics tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// So many tenants have series of their own; the rest are counted as `other`.
    pub tenants_max: usize,
    /// Whether deliveries and attempts are told apart by endpoint.
    pub endpoint_labels: bool,
    /// So many endpoints have series of their own; the rest are counted as `other`.
    pub endpoints_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tenants_max: 1000, endpoint_labels: false, endpoints_max: 1000 }
    }
}

/// Beyond this many series a scrape takes seconds and Prometheus refuses it.
const LABEL_VALUES_MAX: usize = 100_000;

impl Settings {
    /// Every rule that is broken.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut wrong = Vec::new();
        for (field, value) in [("tenants_max", self.tenants_max), ("endpoints_max", self.endpoints_max)] {
            if value > LABEL_VALUES_MAX {
                wrong.push(FieldError::new(field, format!("must be at most {LABEL_VALUES_MAX}")));
            }
        }
        wrong
    }
}

/// What is read at the moment of a scrape rather than counted. What could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Requests to endpoints that are under way.
    pub inflight: u64,
    /// Deliveries that are due and not final.
    pub backlog: Option<u64>,
    /// How long the longest due of them has been due.
    pub oldest_due: Option<Duration>,
    /// Jobs that have not ended; zero where another process carries them out.
    pub jobs_open: Option<u64>,
    /// Log lines that were dropped since the start.
    pub log_lines_dropped: u64,
}

/// Counts what the engine does.
pub struct Metrics {
    registry: Registry,
    tenants: Capped<TenantId>,
    endpoints: Option<Capped<EndpointId>>,
    started_at: Timestamp,

    events_published: Family<TenantLabels, Counter>,
    publishes: Family<ResultLabels, Counter>,
    publish_duration: Histogram,
    quota_refused: Family<TenantLabels, Counter>,
    ingest: Family<IngestLabels, Counter>,
    deliveries: Family<DeliveryLabels, Counter>,
    delivery_latency: Histogram,
    dead_letters: Family<ReasonLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    attempt_duration: Histogram,
    retries: Family<ReasonLabels, Counter>,
    commits: Family<ResultLabels, Counter>,
    commit_duration: Histogram,
    commit_operations: Histogram,
    circuit_open: Gauge,
    circuit_changes: Family<StateLabels, Counter>,
    throttled: Counter,
    endpoints_disabled: Family<ReasonLabels, Counter>,
}

/// From a quarter of a millisecond, what a local receiver takes, to a day, what the last of many retries takes.
const LATENCY_BUCKETS: [f64; 23] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 120.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0,
];

/// Up to a minute, the longest time that is usually allowed to an attempt.
const DURATION_BUCKETS: [f64; 17] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// A sync takes 0.1 ms on a good disk; seconds mean that it is about to fail.
const COMMIT_BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

const OPERATION_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// The outcome of an attempt that the endpoint took.
const SUCCESS: &str = "success";
const OVER_QUOTA: &str = "over_quota";
const DELIVERED: &str = "delivered";
const DEAD: &str = "dead";

impl Metrics {
    /// Begins to count, at `started_at`, for a program of this version.
    pub fn new(settings: &Settings, version: &'static str, started_at: Timestamp) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            tenants: Capped::new(settings.tenants_max),
            endpoints: settings.endpoint_labels.then(|| Capped::new(settings.endpoints_max)),
            started_at,
            events_published: Family::default(),
            publishes: Family::default(),
            publish_duration: Histogram::new(DURATION_BUCKETS),
            quota_refused: Family::default(),
            ingest: Family::default(),
            deliveries: Family::default(),
            delivery_latency: Histogram::new(LATENCY_BUCKETS),
            dead_letters: Family::default(),
            attempts: Family::default(),
            attempt_duration: Histogram::new(DURATION_BUCKETS),
            retries: Family::default(),
            commits: Family::default(),
            commit_duration: Histogram::new(COMMIT_BUCKETS),
            commit_operations: Histogram::new(OPERATION_BUCKETS),
            circuit_open: Gauge::default(),
            circuit_changes: Family::default(),
            throttled: Counter::default(),
            endpoints_disabled: Family::default(),
        };
        metrics.begin_at_zero();
        metrics.registered(version)
    }

    /// Makes the series whose labels are known beforehand: a rate over a series that begins at one misses the one.
    fn begin_at_zero(&self) {
        for result in ["stored", "duplicate", "refused", OVER_QUOTA, "fault"] {
            drop(self.publishes.get_or_create(&ResultLabels { result }));
        }
        for result in ["committed", "failed"] {
            drop(self.commits.get_or_create(&ResultLabels { result }));
        }
        for cause in Cause::ALL {
            drop(self.dead_letters.get_or_create(&ReasonLabels { reason: cause.as_str() }));
        }
        for class in ErrorClass::ALL {
            drop(self.retries.get_or_create(&ReasonLabels { reason: class.as_str() }));
        }
        for state in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
            drop(self.circuit_changes.get_or_create(&StateLabels { state: state.as_str() }));
        }
        for reason in [DisabledReason::Gone, DisabledReason::Failing] {
            drop(self.endpoints_disabled.get_or_create(&ReasonLabels { reason: reason.as_str() }));
        }
        if self.endpoints.is_none() {
            for outcome in ErrorClass::ALL.iter().map(|class| class.as_str()).chain([SUCCESS]) {
                drop(self.attempts.get_or_create(&AttemptLabels { outcome, endpoint: EndpointPart(None) }));
            }
        }
    }

    /// Names everything. A counter's name ends in `_total` when it is written.
    fn registered(mut self, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("harborhook");
        let r = &mut registry;
        r.register("events_published", "Events stored", self.events_published.clone());
        r.register("publishes", "Publishes answered, by their result", self.publishes.clone());
        r.register(
            "publish_duration_seconds",
            "Time from a publish to its answer",
            self.publish_duration.clone(),
        );
        r.register(
            "quota_refused",
            "Events refused because their tenant had published its quota",
            self.quota_refused.clone(),
        );
        r.register("ingest", "Requests to sources, by their provider and result", self.ingest.clone());
        r.register("deliveries", "Deliveries that became final", self.deliveries.clone());
        r.register(
            "delivery_latency_seconds",
            "Time from publish or replay to delivered",
            self.delivery_latency.clone(),
        );
        r.register("dlq", "Deliveries that died, by their cause", self.dead_letters.clone());
        r.register("attempts", "Attempts recorded, by their outcome", self.attempts.clone());
        r.register(
            "attempt_duration_seconds",
            "Time of one request to an endpoint",
            self.attempt_duration.clone(),
        );
        r.register("retries", "Attempts that are followed by another, by what failed", self.retries.clone());
        r.register("store_commits", "Transactions of the store's writer", self.commits.clone());
        r.register(
            "store_commit_duration_seconds",
            "Time of one transaction, from its begin to the end of its commit",
            self.commit_duration.clone(),
        );
        r.register(
            "store_commit_operations",
            "Operations gathered into one transaction",
            self.commit_operations.clone(),
        );
        r.register(
            "circuit_open",
            "Endpoints whose circuit breaker is not closed, of all that share the store",
            self.circuit_open.clone(),
        );
        r.register(
            "circuit_changes",
            "Changes of circuit breakers that were seen, by what they changed to",
            self.circuit_changes.clone(),
        );
        r.register("throttled", "Times that a rate limit made an endpoint wait", self.throttled.clone());
        r.register(
            "endpoints_disabled",
            "Endpoints that were disabled for how they answered, by the reason",
            self.endpoints_disabled.clone(),
        );
        let build = Family::<BuildLabels, ConstGauge<i64>, _>::new_with_constructor(|| ConstGauge::new(1));
        drop(build.get_or_create(&BuildLabels { version }));
        r.register("build_info", "The program's version", build);
        self.registry = registry;
        self
    }

    /// Writes down everything there is, with what was read just now.
    pub fn expose(&self, gauges: &Gauges, format: Format) -> String {
        exposition::write(&[&self.registry, &of_the_moment(gauges), &self.of_the_process()], format)
    }

    fn endpoint(&self, id: EndpointId) -> EndpointPart {
        EndpointPart(self.endpoints.as_ref().map(|known| known.admit(&id)))
    }

    fn of_the_process(&self) -> Registry {
        let usage = Usage::now();
        let mut registry = Registry::with_prefix("process");
        registry.register(
            "cpu_seconds",
            "Processor time used, user and system",
            ConstCounter::new(usage.cpu.as_secs_f64()),
        );
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this epoch fit 53 bits")]
        let started_s = self.started_at.unix_ms() as f64 / 1e3;
        registry.register(
            "start_time_seconds",
            "When the process started, since 1970",
            ConstGauge::new(started_s),
        );
        let known = [
            ("resident_memory_bytes", "Memory that is resident", usage.resident_bytes),
            ("open_fds", "File descriptors that are open", usage.open_fds),
            ("max_fds", "File descriptors that may be open", usage.max_fds),
        ];
        for (name, help, value) in known {
            if let Some(value) = value {
                registry.register(name, help, ConstGauge::new(value));
            }
        }
        registry
    }
}

fn of_the_moment(gauges: &Gauges) -> Registry {
    let mut registry = Registry::with_prefix("harborhook");
    registry.register(
        "inflight",
        "Requests to endpoints that are under way",
        ConstGauge::new(gauges.inflight),
    );
    if let Some(backlog) = gauges.backlog {
        registry.register(
            "worker_backlog",
            "Deliveries that are due and not final, counted up to 100000",
            ConstGauge::new(backlog),
        );
    }
    if let Some(oldest_due) = gauges.oldest_due {
        registry.register(
            "oldest_due_seconds",
            "How long the longest due delivery has been due",
            ConstGauge::new(oldest_due.as_secs_f64()),
        );
    }
    if let Some(jobs_open) = gauges.jobs_open {
        registry.register(
            "jobs_open",
            "Bulk replays, bulk cancels and purges that have not ended; zero where another process does them",
            ConstGauge::new(jobs_open),
        );
    }
    registry.register(
        "log_lines_dropped",
        "Log lines lost because they came faster than they could be written",
        ConstCounter::new(gauges.log_lines_dropped),
    );
    registry
}

impl Observer for Metrics {
    fn published(&self, seen: PublishSeen<'_>) {
        let result = match seen.result {
            PublishResult::Stored => {
                let tenant_id = self.tenants.admit(seen.tenant_id);
                self.events_published.get_or_create(&TenantLabels { tenant_id }).inc();
                "stored"
            }
            PublishResult::Duplicate => "duplicate",
            PublishResult::Refused => "refused",
            PublishResult::OverQuota => {
                let tenant_id = self.tenants.admit(seen.tenant_id);
                self.quota_refused.get_or_create(&TenantLabels { tenant_id }).inc();
                OVER_QUOTA
            }
            PublishResult::Fault => "fault",
        };
        self.publishes.get_or_create(&ResultLabels { result }).inc();
        self.publish_duration.observe(seen.took.as_secs_f64());
    }

    fn received(&self, seen: ReceiveSeen) {
        let result = match seen.result {
            ReceiveResult::Stored => "stored",
            ReceiveResult::Duplicate => "duplicate",
            ReceiveResult::Handshake => "handshake",
            ReceiveResult::Unverified => "unverified",
            ReceiveResult::ForeignAddress => "address_not_allowed",
            ReceiveResult::BadBody => "bad_body",
            ReceiveResult::OverRate => "over_rate",
            ReceiveResult::Refused => "refused",
            ReceiveResult::Fault => "fault",
        };
        self.ingest.get_or_create(&IngestLabels { provider: seen.provider.as_str(), result }).inc();
    }

    fn attempted(&self, seen: AttemptSeen<'_>) {
        let outcome = seen.error_class.map_or(SUCCESS, |class| class.as_str());
        let endpoint = self.endpoint(seen.endpoint_id);
        self.attempts.get_or_create(&AttemptLabels { outcome, endpoint }).inc();
        self.attempt_duration.observe(seen.took.as_secs_f64());
        if let (true, Some(class)) = (seen.is_retried, seen.error_class) {
            self.retries.get_or_create(&ReasonLabels { reason: class.as_str() }).inc();
        }
    }

    fn ended(&self, seen: EndSeen<'_>) {
        let status = match seen.cause {
            None => {
                self.delivery_latency.observe(seen.took.as_secs_f64());
                DELIVERED
            }
            Some(cause) => {
                self.dead_letters.get_or_create(&ReasonLabels { reason: cause.as_str() }).inc();
                DEAD
            }
        };
        let tenant_id = self.tenants.admit(seen.tenant_id);
        let endpoint = self.endpoint(seen.endpoint_id);
        self.deliveries.get_or_create(&DeliveryLabels { status, tenant_id, endpoint }).inc();
    }

    fn committed(&self, seen: CommitSeen) {
        let result = if seen.is_committed { "committed" } else { "failed" };
        self.commits.get_or_create(&ResultLabels { result }).inc();
        self.commit_duration.observe(seen.took.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a transaction holds some thousand operations")]
        self.commit_operations.observe(seen.operations as f64);
    }

    fn breaker_changed(&self, seen: BreakerSeen<'_>) {
        self.circuit_open.set(i64::try_from(seen.open_breakers).unwrap_or(i64::MAX));
        self.circuit_changes.get_or_create(&StateLabels { state: seen.state.as_str() }).inc();
    }

    fn throttled(&self, seen: ThrottleSeen) {
        self.throttled.inc_by(seen.holds);
    }

    fn endpoint_disabled(&self, seen: DisabledSeen<'_>) {
        self.endpoints_disabled.get_or_create(&ReasonLabels { reason: seen.reason.as_str() }).inc();
    }
}

#[cfg(test)]
mod tests;
