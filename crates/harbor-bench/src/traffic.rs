//! The traffic of some tenants: their receiver, the load that publishes for them, and what came of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use crate::arrivals::Stats;
use crate::child::ChildProgram;
use crate::entry::Entry;
use crate::measure::Ground;
use crate::measurement::{Check, DatabaseUse, Measurement, PartUse, ProcessUse, ratio};
use crate::metrics::{self, Finals, SCRAPE_INTERVAL};
use crate::provider::Signing;
use crate::receiver::{Answers, Missing};
use crate::server::Site;
use crate::settings::{Settings, Transport, Workload};
use crate::stage::{self, Tenant};
use crate::usage::{FamilyUsage, Usage};
use crate::{clock, control, load, receiver};

/// How long after its planned end a load may take to report.
const LOAD_GRACE: Duration = Duration::from_secs(90);
/// The slowest preload that is waited for.
const PRELOAD_EVENTS_PER_SECOND_MIN: u64 = 1_000;
const PRELOAD_TIME_MIN: Duration = Duration::from_secs(60);
const PRELOAD_BATCH: u64 = 1_000;
const PRELOAD_CONNECTIONS: usize = 8;
/// How long a backlog may take to drain.
const DRAIN_MAX: Duration = Duration::from_secs(180);
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// The metrics cost the server more than the receiver's count costs anybody.
const METRICS_POLL: Duration = Duration::from_millis(200);

/// Who takes part.
pub(crate) struct Cast<'a> {
    /// The id of the tenant; of several, each has a number behind it.
    pub(crate) name: &'static str,
    /// What they do.
    pub(crate) workload: &'a Workload,
    /// How long their receiver takes to answer.
    pub(crate) answers_after: Duration,
    /// URLs elsewhere at which each of them has an endpoint besides.
    pub(crate) urls_elsewhere: Vec<String>,
}

impl<'a> Cast<'a> {
    /// Tenants whose endpoints all answer at once.
    pub(crate) fn healthy(name: &'static str, workload: &'a Workload) -> Self {
        Self { name, workload, answers_after: Duration::ZERO, urls_elsewhere: Vec::new() }
    }
}

/// Tenants with their receiver.
pub(crate) struct Traffic<'a> {
    ground: &'a Ground<'a>,
    site: Site,
    name: &'static str,
    workload: &'a Workload,
    tenants: Vec<Tenant>,
    /// How events come in that are measured.
    entry: Entry,
    receiver: ChildProgram,
    receiver_control: SocketAddr,
}

/// The counters of a moment.
pub(crate) struct Reading {
    at: Instant,
    /// Of each process of the server.
    server: Vec<Usage>,
    database: Option<FamilyUsage>,
    receiver: Usage,
    /// What the server has recorded since it started.
    finals: Finals,
    /// What has arrived at the receiver since it was reset.
    arrived: Stats,
}

impl<'a> Traffic<'a> {
    /// Starts the receiver and creates the tenants with their endpoints and sources.
    pub(crate) async fn prepare(
        site: &Site,
        settings: &Settings,
        cast: Cast<'a>,
        ground: &'a Ground<'a>,
    ) -> Result<Self> {
        let Cast { name, workload, answers_after, urls_elsewhere } = cast;
        let signing =
            workload.source.map(|provider| Signing { provider, secret: stage::SOURCE_SECRET.to_owned() });
        let plan = receiver::Plan {
            endpoints: (workload.tenants * workload.fan_out) as usize,
            secret: stage::SECRET.to_owned(),
            relayed: signing.clone(),
            is_ordered: workload.ordering_keys > 0,
            answers: Answers { fail_rate: workload.fail_rate, after: answers_after },
            identity: match workload.transport {
                Transport::Http => None,
                Transport::Https | Transport::HttpsH2 => {
                    Some(ground.identity.context("the run has no certificate")?.clone())
                }
            },
        };
        let mut receiver = ChildProgram::start(ground.program, "receiver", &plan).await?;
        let listening: receiver::Listening = receiver.hear().await?;

        let scheme = if plan.identity.is_some() { "https" } else { "http" };
        let mut tenants = Vec::new();
        for tenant in 0..workload.tenants {
            let id = if workload.tenants == 1 { name.to_owned() } else { format!("{name}_{tenant}") };
            let own = endpoints_of(tenant, workload);
            let urls = own.map(|number| format!("{scheme}://{}/endpoint/{number}", listening.deliveries));
            let urls: Vec<_> = urls.chain(urls_elsewhere.iter().cloned()).collect();
            tenants.push(stage::set(site, settings, &id, &urls).await?);
        }
        let entry = match signing {
            None => by_keys(&tenants),
            Some(signing) => {
                let mut paths = Vec::new();
                for tenant in &tenants {
                    paths.push(stage::open_source(site, settings, tenant, &signing).await?);
                }
                Entry::Sources { signing, paths }
            }
        };
        let receiver_control = listening.control;
        Ok(Self { ground, site: site.clone(), name, workload, tenants, entry, receiver, receiver_control })
    }

    /// Goes on at a server that was started again.
    pub(crate) fn follow(&mut self, site: &Site) {
        self.site = site.clone();
    }

    /// Returns the tenants.
    pub(crate) fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// Returns the pace of the workload for some time.
    pub(crate) fn pace(&self, duration: Duration) -> load::Pace {
        match self.workload.rate {
            Some(events_per_second) => load::Pace::Open { events_per_second, duration },
            None => load::Pace::Closed { duration },
        }
    }

    /// Fills the tables with events that nobody subscribes to.
    pub(crate) async fn preload(&self) -> Result<()> {
        if self.workload.preload == 0 {
            return Ok(());
        }
        let plan = load::Plan {
            event_type: stage::EVENT_TYPE_UNROUTED.to_owned(),
            fan_out: 0,
            ..self.preload_plan(self.workload.preload)
        };
        self.run_preload(&plan, self.workload.preload).await?;
        Ok(())
    }

    /// Publishes so many events in large batches, as fast as they are taken.
    pub(crate) async fn heap(&self, events: u64) -> Result<load::Report> {
        self.run_preload(&self.preload_plan(events), events).await
    }

    /// Runs the same load as is measured, and lets it drain.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        if self.workload.warmup.is_zero() {
            return Ok(());
        }
        let before = self.finals().await?;
        let load = self.publish(self.pace(self.workload.warmup)).await?;
        let missing = self.drain(&load, before).await?;
        if missing > 0 {
            bail!("{missing} of {} deliveries of the warm-up never arrived", self.owed(&load));
        }
        self.until_recorded(before, self.owed(&load)).await
    }

    /// Publishes at a pace until its end, lets everything arrive, and returns what it came to.
    pub(crate) async fn measure(&self, pace: load::Pace) -> Result<Measurement> {
        self.reset().await?;
        let before = self.read().await?;
        let load = self.publish(pace).await?;
        let missing = self.drain(&load, before.finals).await?;
        self.until_recorded(before.finals, self.owed(&load)).await?;
        // Only now: work that the server still owed would be missing from its processor time.
        let after = self.read().await?;
        Ok(self.measurement(&before, &after, load, missing))
    }

    /// Runs a load to its end, with the server's metrics scraped meanwhile.
    pub(crate) async fn publish(&self, pace: load::Pace) -> Result<load::Report> {
        self.run_watched(&self.plan(pace)).await
    }

    /// Runs a load to its end beside another that has the metrics scraped; what is answered 429 is sent again.
    pub(crate) async fn publish_stubbornly(&self, pace: load::Pace) -> Result<load::Report> {
        self.run(&load::Plan { retries_refusals: true, ..self.plan(pace) }).await
    }

    /// Reads the keys of the events that the load which ran last had acknowledged for a tenant.
    pub(crate) fn acknowledged(&self, tenant: usize) -> Result<Vec<u64>> {
        crate::event_key::read_file(&self.acknowledged_file(tenant))
    }

    /// Asks the receiver what has arrived since it was reset.
    pub(crate) async fn stats(&self) -> Result<Stats> {
        Ok(serde_json::from_str(&control::get(self.receiver_control, "/stats").await?)?)
    }

    /// Forgets what has arrived.
    pub(crate) async fn reset(&self) -> Result<()> {
        control::post(self.receiver_control, "/reset", None, Bytes::new()).await?;
        Ok(())
    }

    fn plan(&self, pace: load::Pace) -> load::Plan {
        load::Plan {
            api: self.site.api,
            entry: self.entry.clone(),
            event_type: stage::EVENT_TYPE.to_owned(),
            fan_out: self.tenants.first().map_or(0, |tenant| tenant.endpoint_ids.len() as u64),
            payload_bytes: self.workload.payload_bytes,
            batch: self.workload.batch,
            ordering_keys: self.workload.ordering_keys,
            connections: self.workload.connections,
            pace,
            retries_refusals: false,
            acknowledged: (0..self.tenants.len()).map(|tenant| self.acknowledged_file(tenant)).collect(),
        }
    }

    fn preload_plan(&self, events: u64) -> load::Plan {
        let within = Duration::from_secs(events / PRELOAD_EVENTS_PER_SECOND_MIN).max(PRELOAD_TIME_MIN);
        load::Plan {
            entry: by_keys(&self.tenants),
            batch: PRELOAD_BATCH.min(events),
            connections: PRELOAD_CONNECTIONS,
            ordering_keys: 0,
            retries_refusals: true,
            ..self.plan(load::Pace::Count { events, within })
        }
    }

    async fn run_preload(&self, plan: &load::Plan, events: u64) -> Result<load::Report> {
        let report = self.run_watched(plan).await?;
        if report.events < events {
            bail!("only {} of {events} events were preloaded: {:?}", report.events, report.errors);
        }
        Ok(report)
    }

    async fn run_watched(&self, plan: &load::Plan) -> Result<load::Report> {
        tokio::select! {
            report = self.run(plan) => report,
            failure = self.scrape() => Err(failure),
        }
    }

    async fn run(&self, plan: &load::Plan) -> Result<load::Report> {
        let (load::Pace::Closed { duration }
        | load::Pace::Count { within: duration, .. }
        | load::Pace::Open { duration, .. }) = plan.pace;
        let mut load = ChildProgram::start(self.ground.program, "load", plan).await?;
        let report = tokio::time::timeout(duration + LOAD_GRACE, load.hear());
        report.await.context("the load did not end in time")?
    }

    /// Scrapes the server's metrics for as long as they answer, and returns why they stopped.
    async fn scrape(&self) -> anyhow::Error {
        loop {
            tokio::time::sleep(SCRAPE_INTERVAL).await;
            for ops in &self.site.ops {
                if let Err(failure) = control::get(*ops, "/metrics").await {
                    return failure.context("the server stopped showing metrics");
                }
            }
        }
    }

    async fn read(&self) -> Result<Reading> {
        let server = self.site.processes.iter().map(|process| Usage::of_process(process.id));
        Ok(Reading {
            at: Instant::now(),
            server: server.collect::<Result<_>>().context("the server is gone")?,
            database: self.site.postmaster.map(FamilyUsage::of).transpose()?,
            receiver: Usage::of_process(self.receiver.id())?,
            finals: self.finals().await?,
            arrived: self.stats().await?,
        })
    }

    async fn finals(&self) -> Result<Finals> {
        // Of many tenants, the metrics may show some under "other".
        let tenant = if let [tenant] = self.tenants.as_slice() { Some(tenant.id.as_str()) } else { None };
        metrics::finals(&self.site.ops, tenant).await
    }

    fn owed(&self, load: &load::Report) -> u64 {
        load.events * self.workload.fan_out
    }

    /// Whether attempts fail on purpose, so that deliveries may die.
    fn may_die(&self) -> bool {
        self.workload.fail_rate > 0.0
    }

    /// Waits until every acknowledged event has arrived or its delivery is dead, where it may be, or nothing moves
    /// any more, and returns how many are missing.
    async fn drain(&self, load: &load::Report, before: Finals) -> Result<u64> {
        let owed = self.owed(load);
        let start = Instant::now();
        let (mut settled, mut progress_at) = (0, start);
        loop {
            let dead = if self.may_die() { self.finals().await?.dead - before.dead } else { 0 };
            let now_settled = self.stats().await?.distinct + dead;
            if now_settled > settled {
                (settled, progress_at) = (now_settled, Instant::now());
            }
            let is_over = progress_at.elapsed() > self.ground.patience || start.elapsed() > DRAIN_MAX;
            // The exact comparison costs more than the count, so the count comes first.
            if is_over || settled >= owed {
                let missing = self.missing().await?.saturating_sub(dead);
                if is_over || missing == 0 {
                    return Ok(missing);
                }
            }
            tokio::time::sleep(if self.may_die() { METRICS_POLL } else { DRAIN_POLL }).await;
        }
    }

    /// Returns how many deliveries of acknowledged events the receiver has not accepted.
    async fn missing(&self) -> Result<u64> {
        let mut missing = 0;
        for tenant in 0..self.tenants.len() {
            let own = endpoints_of(tenant as u64, self.workload);
            let question = Missing {
                events: self.acknowledged_file(tenant),
                endpoints: own.start as usize..own.end as usize,
            };
            let question = Bytes::from(serde_json::to_vec(&question)?);
            let answer = control::post(self.receiver_control, "/missing", None, question).await?;
            missing += std::str::from_utf8(&answer)?.parse::<u64>()?;
        }
        Ok(missing)
    }

    /// Waits until the server has recorded so many deliveries more, or does not any more.
    async fn until_recorded(&self, before: Finals, deliveries: u64) -> Result<()> {
        let start = Instant::now();
        while self.recorded(before, self.finals().await?) < deliveries {
            if start.elapsed() > self.ground.patience {
                break;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        Ok(())
    }

    fn recorded(&self, before: Finals, after: Finals) -> u64 {
        let dead = if self.may_die() { after.dead - before.dead } else { 0 };
        after.delivered - before.delivered + dead
    }

    fn acknowledged_file(&self, tenant: usize) -> PathBuf {
        self.ground.folder.join(format!("{}-acknowledged-{tenant}", self.name))
    }

    fn measurement(
        &self,
        before: &Reading,
        after: &Reading,
        load: load::Report,
        missing: u64,
    ) -> Measurement {
        let stats = &after.arrived;
        let elapsed = (after.at - before.at).as_secs_f64();
        let pairs = before.server.iter().zip(&after.server).zip(&self.site.processes);
        let parts: Vec<_> = pairs
            .map(|((before, after), process)| PartUse {
                name: process.name,
                used: ProcessUse::between(*before, *after, elapsed),
            })
            .collect();
        let server = ProcessUse::sum(parts.iter().map(|part| part.used));
        let database = before.database.zip(after.database).map(|(before, after)| {
            let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
            DatabaseUse {
                cpu_seconds,
                cores: ratio(cpu_seconds, elapsed),
                memory_mib: after.memory_bytes as f64 / (1024.0 * 1024.0),
                memory_measure: after.memory_measure,
            }
        });
        let owed = self.owed(&load);
        let dead = after.finals.dead - before.finals.dead;
        let explained = if self.may_die() { dead } else { 0 };
        let arriving_seconds = clock::seconds_between(load.start_us, stats.last_us);
        let units = if self.workload.fan_out == 0 { load.events } else { stats.distinct };
        let cpu_per_1000 = |cpu_seconds: f64| ratio(cpu_seconds * 1e3, units as f64);
        Measurement {
            ready_seconds: self.site.ready_seconds,
            seconds: load.seconds,
            requests: load.requests,
            events: load.events,
            events_per_second: ratio(load.events as f64, load.seconds),
            deliveries: stats.distinct,
            deliveries_per_second: ratio(stats.distinct as f64, arriving_seconds),
            attempts: stats.attempts,
            attempts_per_second: ratio(stats.attempts as f64, arriving_seconds),
            dead,
            drain_seconds: (arriving_seconds - load.seconds).max(0.0),
            ack: load.ack,
            end_to_end: stats.latency,
            lateness: load.lateness,
            server_cpu_seconds_per_1000: cpu_per_1000(server.cpu_seconds),
            database_cpu_seconds_per_1000: database.map(|database| cpu_per_1000(database.cpu_seconds)),
            server,
            parts,
            database,
            load: ProcessUse::between(Usage::default(), load.usage, load.seconds),
            receiver: ProcessUse::between(before.receiver, after.receiver, elapsed),
            check: Check {
                deliveries_owed: owed,
                missing,
                unacknowledged: stats.distinct.saturating_sub(owed.saturating_sub(missing + explained)),
                recorded: self.recorded(before.finals, after.finals),
                duplicates: stats.duplicates,
                out_of_order: stats.out_of_order,
                unreadable: stats.unreadable,
                signatures_checked: stats.signatures.checked,
                signatures_wrong: stats.signatures.wrong,
                fan_out_wrong: load.fan_out_wrong,
                unsent: load.unsent,
                errors: load.errors,
            },
        }
    }
}

/// Lets tenants publish through the API.
fn by_keys(tenants: &[Tenant]) -> Entry {
    Entry::Api { keys: tenants.iter().map(|tenant| tenant.api_key.clone()).collect() }
}

/// Returns the numbers of the endpoints of a tenant at the receiver.
fn endpoints_of(tenant: u64, workload: &Workload) -> std::ops::Range<u64> {
    tenant * workload.fan_out..(tenant + 1) * workload.fan_out
}
