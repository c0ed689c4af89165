//! Quotas: how much of what its tenant may publish is left, as this process knows it.
//!
//! Publishing asks nobody: each process has its part of the rate in a token bucket, and counts the day in
//! memory. About each second it tells the others what it has taken, and hears what they have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use harbor_model::decide::rate::TokenBucket;
use harbor_model::id::{TenantId, WorkerId};
use harbor_model::policy::RateLimit;
use harbor_model::policy::quota::Quota;
use harbor_model::port::Fault;
use harbor_model::port::quotas::{Quotas, Usage};
use harbor_model::time::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// What telling the others needs.
#[derive(Clone)]
pub struct Deps {
    /// Counts for all processes.
    pub quotas: Arc<dyn Quotas>,
    /// What this process has taken; see [`crate::publish::Publisher::meter`].
    pub meter: Arc<Meter>,
    /// Tells the time and waits.
    pub clock: Arc<dyn Clock>,
    /// Names this process among those that take events, from its start to its end.
    pub node: WorkerId,
}

/// How a tenant stands with its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaStanding {
    /// Over which time.
    pub window: QuotaWindow,
    /// The most events in that time, over all processes.
    pub limit: u64,
    /// How many more this process would take now.
    pub remaining: u64,
    /// When there is more: of one that was refused, how long until the next event is taken. Otherwise, how
    /// long until nothing counts any more of what was taken.
    pub reset: Duration,
}

/// The time that a quota is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaWindow {
    /// A second.
    Second,
    /// A day of UTC.
    Day,
}

impl QuotaWindow {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Day => "day",
        }
    }

    /// How long it is.
    pub fn length(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Day => Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// How often the others are told.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// So long after the last event of a tenant with a quota, the others still hear of this process.
const HEARD_FOR: Duration = Duration::from_secs(10);

/// The most tenants that are named to the others at once.
const SETTLED_MAX: usize = 1_000;

/// The most tenants that are kept in mind. Beyond them events pass uncounted.
const TENANTS_MAX: usize = 100_000;

/// Below this many, sweeping costs more than it frees.
const SWEEP_AT_MIN: usize = 1_024;

/// Where sweeping frees nothing, it is not done again for each event.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Counts what each tenant publishes here, and knows what is left of its quota.
#[derive(Debug)]
pub struct Meter(Mutex<State>);

#[derive(Debug)]
struct State {
    /// How many processes share each rate.
    nodes: u32,
    tallies: HashMap<TenantId, Tally>,
    /// Tenants of which the others are to be told something.
    unsettled: Vec<TenantId>,
    /// When an event of a tenant with a quota last came.
    used_at: Option<Timestamp>,
    tenants_max: usize,
    /// The number of tenants at which those that need not be kept are swept out, not sooner than this.
    sweep_at: usize,
    sweep_after: Timestamp,
}

/// What one tenant has taken.
#[derive(Debug)]
struct Tally {
    /// The rate over all processes.
    rate: Option<RateLimit>,
    /// This process's part of it.
    bucket: Option<TokenBucket>,
    per_day: Option<u64>,
    /// Days since 1970.
    day: i64,
    /// What all processes have taken of the day, as they last said.
    of_day: u64,
    /// What was taken here since, and the others are being told.
    settling: u64,
    /// What was taken here since then.
    unsettled: u64,
    /// What was given back after the others had been told of it.
    credit: u64,
    /// Whether it is among those of which the others are to be told.
    is_listed: bool,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new(TENANTS_MAX)
    }
}

impl Meter {
    fn new(tenants_max: usize) -> Self {
        Self(Mutex::new(State {
            nodes: 1,
            tallies: HashMap::new(),
            unsettled: Vec::new(),
            used_at: None,
            tenants_max,
            sweep_at: SWEEP_AT_MIN.min(tenants_max),
            sweep_after: Timestamp::from_unix_ms(0),
        }))
    }

    /// Takes one event of the tenant's quota. False where none of it is counted; an error where nothing is left.
    pub(crate) fn take(
        &self,
        tenant: &TenantId,
        quota: &Quota,
        now: Timestamp,
    ) -> Result<bool, QuotaStanding> {
        if !quota.is_limited() {
            return Ok(false);
        }
        let mut state = self.state();
        state.used_at = Some(now);
        let Some(tally) = state.tally(tenant, quota, now) else { return Ok(false) };
        tally.take(now)?;
        if tally.unsettled > 0 && !std::mem::replace(&mut tally.is_listed, true) {
            state.unsettled.push(tenant.clone());
        }
        Ok(true)
    }

    /// Gives back what was taken for events that were not stored.
    pub(crate) fn give_back(&self, tenant: &TenantId, count: u32) {
        if count == 0 {
            return;
        }
        if let Some(tally) = self.state().tallies.get_mut(tenant) {
            tally.give_back(count);
        }
    }

    /// How the tenant stands with the part of its quota of which least is left; none where it has no quota.
    pub fn standing(&self, tenant: &TenantId, quota: &Quota, now: Timestamp) -> Option<QuotaStanding> {
        if !quota.is_limited() {
            return None;
        }
        let state = &mut *self.state();
        let nodes = state.nodes;
        let mut unknown = Tally::new(now.day());
        let tally = state.tallies.get_mut(tenant).unwrap_or(&mut unknown);
        tally.renew(quota, nodes, now);
        tally.standing(now)
    }

    /// What the others are to be told: none where it is nothing, and they need not hear of this process.
    fn begin(&self, now: Timestamp) -> Option<Vec<(TenantId, u64)>> {
        let mut state = self.state();
        let State { tallies, unsettled, used_at, .. } = &mut *state;
        let rest = unsettled.split_off(unsettled.len().min(SETTLED_MAX));
        let mut taken = Vec::with_capacity(unsettled.len());
        for tenant in std::mem::replace(unsettled, rest) {
            let Some(tally) = tallies.get_mut(&tenant) else { continue };
            // What was taken yesterday counts no more.
            tally.turn(now.day());
            tally.is_listed = false;
            tally.settling = std::mem::take(&mut tally.unsettled);
            if tally.settling > 0 {
                taken.push((tenant, tally.settling));
            }
        }
        let is_in_use = used_at.is_some_and(|used_at| now.since(used_at) < HEARD_FOR);
        (is_in_use || !taken.is_empty()).then_some(taken)
    }

    /// Takes in what all have taken.
    fn settled(&self, taken: Vec<(TenantId, u64)>, usage: Usage, now: Timestamp) {
        let mut state = self.state();
        state.nodes = u32::try_from(usage.nodes).unwrap_or(u32::MAX).max(1);
        for ((tenant, _), of_day) in taken.into_iter().zip(usage.of_day) {
            if let Some(tally) = state.tallies.get_mut(&tenant)
                && tally.day == now.day()
            {
                (tally.of_day, tally.settling) = (of_day, 0);
            }
        }
    }

    /// This process's part of a rate that all processes share, and is in use now.
    pub(crate) fn part_of(&self, limit: RateLimit, now: Timestamp) -> RateLimit {
        let mut state = self.state();
        state.used_at = Some(now);
        part(limit, state.nodes)
    }

    /// Says that nobody knows whether the others were told. They are told again: rather a little too much
    /// is counted than too little.
    fn unsettle(&self, taken: Vec<(TenantId, u64)>) {
        let mut state = self.state();
        for (tenant, _) in taken {
            if let Some(tally) = state.tallies.get_mut(&tenant) {
                tally.unsettled += std::mem::take(&mut tally.settling);
                if !std::mem::replace(&mut tally.is_listed, true) {
                    state.unsettled.push(tenant);
                }
            }
        }
    }

    fn has_unsettled(&self) -> bool {
        !self.state().unsettled.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

impl State {
    /// The tenant's tally, with the quota that is in force; none where there is no place for one.
    fn tally(&mut self, tenant: &TenantId, quota: &Quota, now: Timestamp) -> Option<&mut Tally> {
        if !self.tallies.contains_key(tenant) && !self.has_place(now) {
            return None;
        }
        let tally = self.tallies.entry(tenant.clone()).or_insert_with(|| Tally::new(now.day()));
        tally.renew(quota, self.nodes, now);
        Some(tally)
    }

    fn has_place(&mut self, now: Timestamp) -> bool {
        if self.tallies.len() >= self.sweep_at && now >= self.sweep_after {
            self.sweep_after = now + SWEEP_INTERVAL;
            self.tallies.retain(|_, tally| !tally.is_forgettable(now));
            self.sweep_at = (self.tallies.len() * 2).max(SWEEP_AT_MIN).min(self.tenants_max);
        }
        self.tallies.len() < self.tenants_max
    }
}

impl Tally {
    fn new(day: i64) -> Self {
        Self {
            rate: None,
            bucket: None,
            per_day: None,
            day,
            of_day: 0,
            settling: 0,
            unsettled: 0,
            credit: 0,
            is_listed: false,
        }
    }

    /// Takes over the quota in force, and this process's part of the rate.
    fn renew(&mut self, quota: &Quota, nodes: u32, now: Timestamp) {
        self.turn(now.day());
        (self.rate, self.per_day) = (quota.rate.value, quota.per_day.value);
        self.bucket = TokenBucket::renewed(self.bucket, self.rate.map(|rate| part(rate, nodes)), now);
    }

    /// Begins another day.
    fn turn(&mut self, day: i64) {
        if self.day != day {
            let Self { rate, bucket, per_day, is_listed, .. } = *self;
            *self = Self { rate, bucket, per_day, is_listed, ..Self::new(day) };
        }
    }

    fn used(&self) -> u64 {
        (self.of_day + self.settling + self.unsettled).saturating_sub(self.credit)
    }

    /// Takes one event, or tells which part of the quota has nothing left.
    fn take(&mut self, now: Timestamp) -> Result<(), QuotaStanding> {
        if let Some(limit) = self.per_day.filter(|limit| self.used() >= *limit) {
            return Err(self.standing_of_day(limit, now));
        }
        if let (Some(rate), Some(bucket)) = (self.rate, &mut self.bucket)
            && let Err(ready_at) = bucket.take(now)
        {
            return Err(standing_of_second(rate, 0, ready_at.since(now)));
        }
        if self.per_day.is_none() {
            return Ok(());
        }
        if self.credit > 0 {
            self.credit -= 1;
        } else {
            self.unsettled += 1;
        }
        Ok(())
    }

    fn give_back(&mut self, count: u32) {
        if let Some(bucket) = &mut self.bucket {
            bucket.give_back(count);
        }
        if self.per_day.is_some() {
            let untold = u64::from(count).min(self.unsettled);
            self.unsettled -= untold;
            self.credit += u64::from(count) - untold;
        }
    }

    fn standing(&self, now: Timestamp) -> Option<QuotaStanding> {
        let of_second = self.rate.zip(self.bucket);
        let of_second =
            of_second.map(|(rate, bucket)| standing_of_second(rate, bucket.left(now), bucket.full_in(now)));
        let of_day = self.per_day.map(|limit| self.standing_of_day(limit, now));
        of_day.into_iter().chain(of_second).min_by_key(|standing| standing.remaining)
    }

    fn standing_of_day(&self, limit: u64, now: Timestamp) -> QuotaStanding {
        let remaining = limit.saturating_sub(self.used());
        let tomorrow = Timestamp::start_of_day(self.day + 1);
        QuotaStanding { window: QuotaWindow::Day, limit, remaining, reset: tomorrow.since(now) }
    }

    /// Whether a new one would be the same.
    fn is_forgettable(&self, now: Timestamp) -> bool {
        let is_of_today = self.per_day.is_some() && self.day == now.day();
        !is_of_today && self.bucket.is_none_or(|bucket| bucket.is_full(now))
    }
}

/// The part of one of several processes.
fn part(limit: RateLimit, nodes: u32) -> RateLimit {
    RateLimit { per_second: (limit.per_second / nodes).max(1), burst: (limit.burst / nodes).max(1) }
}

fn standing_of_second(rate: RateLimit, left: u32, reset: Duration) -> QuotaStanding {
    // After a quiet time there may be more for the moment than a second has.
    let remaining = left.min(rate.per_second).into();
    QuotaStanding { window: QuotaWindow::Second, limit: rate.per_second.into(), remaining, reset }
}

/// Tells the others about each second, until `shutdown`, and a last time then.
pub async fn run(deps: Deps, shutdown: CancellationToken) {
    loop {
        let is_last = tokio::select! {
            biased;
            () = shutdown.cancelled() => true,
            () = deps.clock.sleep_until(deps.clock.now() + SETTLE_INTERVAL) => false,
        };
        if let Err(fault) = settle(&deps).await {
            warn!(%fault, "cannot count what tenants publish of their quotas, trying again: {fault}");
        }
        if is_last {
            return;
        }
    }
}

/// Tells the others what was taken here and hears what they have taken, where there is something to say or
/// they need to hear of this process.
pub async fn settle(deps: &Deps) -> Result<(), Fault> {
    let now = deps.clock.now();
    while let Some(taken) = deps.meter.begin(now) {
        match deps.quotas.count_usage(deps.node, taken.clone(), now).await {
            Ok(usage) => deps.meter.settled(taken, usage, now),
            Err(fault) => {
                deps.meter.unsettle(taken);
                return Err(fault);
            }
        }
        if !deps.meter.has_unsettled() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
