//! One run from the empty server to its figures: set the stage, warm up, measure, let it drain, read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use crate::arrivals::Stats;
use crate::child::ChildProgram;
use crate::measurement::{Check, Measurement, ProcessUse};
use crate::metrics::{self, SCRAPE_INTERVAL};
use crate::server::Site;
use crate::settings::{Settings, Workload};
use crate::usage::Usage;
use crate::{clock, control, load, receiver, stage};

/// How long after its planned end a load may take to report.
const LOAD_GRACE: Duration = Duration::from_secs(90);
/// The slowest preload that is waited for.
const PRELOAD_EVENTS_PER_SECOND_MIN: u64 = 1_000;
const PRELOAD_BATCH: u64 = 1_000;
const PRELOAD_CONNECTIONS: usize = 8;
/// How long a backlog may take to drain.
const DRAIN_MAX: Duration = Duration::from_secs(180);
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What a run stands on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// This program, which the load and the receiver run too.
    pub program: &'a Path,
    /// A place for files.
    pub folder: &'a Path,
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
    let run = Run::prepare(site, settings, workload, ground).await?;
    run.preload().await?;
    run.warm_up().await?;

    let before = run.begin().await?;
    let load = run.load(run.pace(workload.duration)).await?;
    let missing = run.drain(&load).await?;
    run.until_recorded(before.delivered + run.owed(&load)).await?;
    // Only now: work that the server still owed would be missing from its processor time.
    let after = run.read().await?;

    Ok(run.measurement(&before, &after, load, missing))
}

/// A run and the processes it needs.
struct Run<'a> {
    site: &'a Site,
    workload: &'a Workload,
    ground: &'a Ground<'a>,
    acknowledged: PathBuf,
    receiver: ChildProgram,
    receiver_address: SocketAddr,
    api_key: String,
}

/// The counters of a moment.
struct Reading {
    at: Instant,
    server: Usage,
    receiver: Usage,
    /// What the server has recorded as delivered since it started.
    delivered: u64,
    /// What has arrived at the receiver since it was reset.
    arrived: Stats,
}

impl<'a> Run<'a> {
    async fn prepare(
        site: &'a Site,
        settings: &Settings,
        workload: &'a Workload,
        ground: &'a Ground<'a>,
    ) -> Result<Self> {
        let plan = receiver::Plan { endpoints: workload.fan_out as usize, secret: stage::SECRET.to_owned() };
        let mut receiver = ChildProgram::start(ground.program, "receiver", &plan).await?;
        let listening: receiver::Listening = receiver.hear().await?;
        let api_key = stage::set(site, settings, listening.address, workload.fan_out).await?;
        Ok(Self {
            site,
            workload,
            ground,
            acknowledged: ground.folder.join("acknowledged"),
            receiver,
            receiver_address: listening.address,
            api_key,
        })
    }

    /// Fills the tables with events that nobody subscribes to.
    async fn preload(&self) -> Result<()> {
        let events = self.workload.preload;
        if events == 0 {
            return Ok(());
        }
        let plan = load::Plan {
            event_type: stage::EVENT_TYPE_UNROUTED.to_owned(),
            fan_out: 0,
            batch: PRELOAD_BATCH,
            connections: PRELOAD_CONNECTIONS,
            ..self.plan(load::Pace::Count { events })
        };
        let report =
            self.run_load(&plan, Duration::from_secs(events / PRELOAD_EVENTS_PER_SECOND_MIN)).await?;
        if report.events < events {
            bail!("only {} of {events} events were preloaded: {:?}", report.events, report.errors);
        }
        Ok(())
    }

    /// Runs the same load as is measured, and lets it drain.
    async fn warm_up(&self) -> Result<()> {
        if self.workload.warmup.is_zero() {
            return Ok(());
        }
        let load = self.load(self.pace(self.workload.warmup)).await?;
        let missing = self.drain(&load).await?;
        if missing > 0 {
            bail!("{missing} of {} deliveries of the warm-up never arrived", self.owed(&load));
        }
        self.until_recorded(self.owed(&load)).await
    }

    /// Forgets the warm-up and reads the counters.
    async fn begin(&self) -> Result<Reading> {
        control::post(self.receiver_address, "/reset", None, Bytes::new()).await?;
        self.read().await
    }

    async fn read(&self) -> Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            server: Usage::of_process(self.site.process_id).context("the server is gone")?,
            receiver: Usage::of_process(self.receiver.id())?,
            delivered: metrics::delivered(self.site.ops).await?,
            arrived: self.stats().await?,
        })
    }

    fn pace(&self, duration: Duration) -> load::Pace {
        match self.workload.rate {
            Some(events_per_second) => load::Pace::Open { events_per_second, duration },
            None => load::Pace::Closed { duration },
        }
    }

    fn plan(&self, pace: load::Pace) -> load::Plan {
        load::Plan {
            api: self.site.api,
            api_key: self.api_key.clone(),
            event_type: stage::EVENT_TYPE.to_owned(),
            fan_out: self.workload.fan_out,
            payload_bytes: self.workload.payload_bytes,
            batch: self.workload.batch,
            connections: self.workload.connections,
            pace,
            acknowledged: self.acknowledged.clone(),
        }
    }

    async fn load(&self, pace: load::Pace) -> Result<load::Report> {
        self.run_load(&self.plan(pace), self.workload.duration.max(self.workload.warmup)).await
    }

    /// Runs a load to its end, with the server's metrics scraped meanwhile.
    async fn run_load(&self, plan: &load::Plan, planned: Duration) -> Result<load::Report> {
        let mut load = ChildProgram::start(self.ground.program, "load", plan).await?;
        let report = tokio::time::timeout(planned + LOAD_GRACE, load.hear());
        tokio::select! {
            report = report => report.context("the load did not end in time")?,
            failure = self.scrape() => Err(failure),
        }
    }

    /// Scrapes the server's metrics for as long as they answer, and returns why they stopped.
    async fn scrape(&self) -> anyhow::Error {
        loop {
            tokio::time::sleep(SCRAPE_INTERVAL).await;
            if let Err(failure) = control::get(self.site.ops, "/metrics").await {
                return failure.context("the server stopped showing metrics");
            }
        }
    }

    fn owed(&self, load: &load::Report) -> u64 {
        load.events * self.workload.fan_out
    }

    async fn stats(&self) -> Result<Stats> {
        Ok(serde_json::from_str(&control::get(self.receiver_address, "/stats").await?)?)
    }

    /// Waits until every acknowledged event has arrived, or nothing moves any more, and returns how many are missing.
    async fn drain(&self, load: &load::Report) -> Result<u64> {
        let owed = self.owed(load);
        let start = Instant::now();
        let (mut arrived, mut progress_at) = (0, start);
        loop {
            let distinct = self.stats().await?.distinct;
            if distinct > arrived {
                (arrived, progress_at) = (distinct, Instant::now());
            }
            let is_over = progress_at.elapsed() > self.ground.patience || start.elapsed() > DRAIN_MAX;
            // The exact comparison costs more than the count, so the count comes first.
            if is_over || distinct >= owed {
                let missing = self.missing().await?;
                if is_over || missing == 0 {
                    return Ok(missing);
                }
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    async fn missing(&self) -> Result<u64> {
        let path = self.acknowledged.to_str().context("the folder's path is not text")?.to_owned();
        let answer = control::post(self.receiver_address, "/missing", None, Bytes::from(path)).await?;
        Ok(std::str::from_utf8(&answer)?.parse()?)
    }

    /// Waits until the server has recorded so many deliveries since it started, or does not any more.
    async fn until_recorded(&self, deliveries: u64) -> Result<()> {
        let start = Instant::now();
        while metrics::delivered(self.site.ops).await? < deliveries {
            if start.elapsed() > self.ground.patience {
                break;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        Ok(())
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
        let server = process_use(before.server, after.server, elapsed);
        let owed = self.owed(&load);
        let arriving_seconds = clock::seconds_between(load.start_us, stats.last_us);
        let units = if self.workload.fan_out == 0 { load.events } else { stats.distinct };
        Measurement {
            ready_seconds: self.site.ready_seconds,
            seconds: load.seconds,
            requests: load.requests,
            events: load.events,
            events_per_second: ratio(load.events as f64, load.seconds),
            deliveries: stats.distinct,
            deliveries_per_second: ratio(stats.distinct as f64, arriving_seconds),
            drain_seconds: (arriving_seconds - load.seconds).max(0.0),
            ack: load.ack,
            end_to_end: stats.latency,
            lateness: load.lateness,
            server_cpu_seconds_per_1000: ratio(server.cpu_seconds * 1e3, units as f64),
            server,
            load: process_use(Usage::default(), load.usage, load.seconds),
            receiver: process_use(before.receiver, after.receiver, elapsed),
            check: Check {
                deliveries_owed: owed,
                missing,
                unacknowledged: stats.distinct - (owed - missing),
                recorded: after.delivered - before.delivered,
                duplicates: stats.duplicates,
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

fn process_use(before: Usage, after: Usage, seconds: f64) -> ProcessUse {
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    ProcessUse {
        cpu_seconds,
        cores: ratio(cpu_seconds, seconds),
        memory_peak_mib: after.resident_peak_bytes as f64 / (1024.0 * 1024.0),
    }
}

/// Divides; nothing over nothing is zero.
fn ratio(dividend: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { dividend / divisor } else { 0.0 }
}
