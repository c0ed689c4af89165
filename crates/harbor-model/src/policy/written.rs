//! A policy as people write it, field by field: in a request to the API or in the instance's settings.
//!
//! The rules of its fields, alone and together, stand here and nowhere else. Who reads a policy brings it
//! into a [`WrittenPolicy`] and takes the [`PolicyLayer`] that it makes, or what is wrong with it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::invalid::FieldError;
use crate::policy::breaker::{BreakerLayer, BreakerPolicy};
use crate::policy::order::{OnDead, Ordering};
use crate::policy::quota::QuotaLayer;
use crate::policy::retention::RetentionLayer;
use crate::policy::retry::{Backoff, ClientErrors, RetryLayer, RetryPolicy};
use crate::policy::{PolicyLayer, RateLimit, SigningSchemes};
use crate::text::{DURATION_MAX, print_duration};

/// The bounds of the time for an attempt, in milliseconds.
pub const TIMEOUT_MS: RangeInclusive<u64> = 100..=300_000;

/// The bounds of the requests in flight to one endpoint.
pub const IN_FLIGHT: RangeInclusive<u32> = 1..=10_000;

/// The bounds of a rate limit: of its requests per second, and of its burst.
pub const RATE: RangeInclusive<u32> = 1..=1_000_000;

/// The bounds of the attempts of a delivery.
pub const ATTEMPTS: RangeInclusive<u16> = 1..=100;

/// The bounds of the retries of a client error.
pub const CLIENT_ERROR_RETRIES: RangeInclusive<u16> = 0..=100;

/// The bounds of the consecutive failures that open a circuit breaker.
pub const CONSECUTIVE_FAILURES: RangeInclusive<u32> = 1..=10_000;

/// The bounds of the latency that opens a circuit breaker, in milliseconds.
pub const P95_MS: RangeInclusive<u64> = 1..=300_000;

/// The bounds of the probes that close a circuit breaker.
pub const PROBES: RangeInclusive<u32> = 1..=100;

/// The bounds of the events of a day.
pub const PER_DAY: RangeInclusive<u64> = 1..=1_000_000_000_000;

/// The shortest retention: what is younger may be needed to answer a repeat, or by who looks at it.
pub const RETENTION_MIN: Duration = Duration::from_secs(60);

/// The longest retention.
pub const RETENTION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The shortest cool-down of a circuit breaker: a shorter one is no rest.
pub const COOLDOWN_MIN: Duration = Duration::from_secs(1);

/// The most waits that are written out.
pub const SCHEDULE_WAITS_MAX: usize = 100;

/// The bounds of jitter, as a part of the wait.
pub const JITTER: RangeInclusive<f64> = 0.0..=1.0;

/// The bounds of the factor of an exponential backoff.
pub const FACTOR: RangeInclusive<f64> = 1.0..=100.0;

/// The factor of an exponential backoff that names none.
const FACTOR_DEFAULT: f64 = 2.0;

/// The fields of a policy. One that is `None` is not written, so it is inherited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenPolicy {
    /// The time for one attempt, in the unit that its name tells; within [`TIMEOUT_MS`].
    pub timeout_ms: Option<u64>,
    /// When to try again.
    pub retry: WrittenRetry,
    /// The most requests per second to one endpoint.
    pub rate_limit: WrittenRateLimit,
    /// The most requests to one endpoint at a time; within [`IN_FLIGHT`].
    pub max_in_flight: Option<u32>,
    /// When the endpoint is left alone for a while.
    pub circuit_breaker: WrittenBreaker,
    /// What deliveries are ordered by.
    pub ordering: Option<Ordering>,
    /// What becomes of an ordered lane whose head is dead.
    pub on_dead: Option<OnDead>,
    /// Which signatures a request carries.
    pub signing: WrittenSigning,
}

/// The fields of [`RetryLayer`], where the waits are a strategy with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenRetry {
    /// The most attempts, the first among them; within [`ATTEMPTS`].
    pub max_attempts: Option<u16>,
    /// How waits are reckoned. `Schedule` where `schedule` is written.
    pub strategy: Option<RetryStrategy>,
    /// The waits in turn, at most [`SCHEDULE_WAITS_MAX`]. For `Schedule`.
    pub schedule: Option<Vec<Duration>>,
    /// The first wait. For `Exponential` and `Linear`.
    pub base: Option<Duration>,
    /// What each wait is multiplied by for the next; within [`FACTOR`]. For `Exponential`, which doubles
    /// without it.
    pub factor: Option<f64>,
    /// What each wait adds to the one before. For `Linear`.
    pub increment: Option<Duration>,
    /// The wait. For `Fixed`.
    pub delay: Option<Duration>,
    /// How far a wait strays at random, as a part of it; within [`JITTER`].
    pub jitter: Option<f64>,
    /// The longest wait, also of one that the endpoint asks for.
    pub max_delay: Option<Duration>,
    /// Whether a 4xx is tried again; a number within [`CLIENT_ERROR_RETRIES`], or all.
    pub client_errors: Option<ClientErrors>,
}

/// The name of a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryStrategy {
    /// See [`Backoff::Schedule`].
    Schedule,
    /// See [`Backoff::Exponential`].
    Exponential,
    /// See [`Backoff::Linear`].
    Linear,
    /// See [`Backoff::Fixed`].
    Fixed,
    /// See [`Backoff::Standard`].
    Standard,
}

/// The fields of [`RateLimit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenRateLimit {
    /// Requests per second over a long time; within [`RATE`].
    pub per_second: Option<u32>,
    /// Requests that may go at once after a quiet time; within [`RATE`]. As many as `per_second` without it.
    pub burst: Option<u32>,
}

/// The fields of [`BreakerPolicy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenBreaker {
    /// Whether it ever opens.
    pub enabled: Option<bool>,
    /// Failures in a row that open it; within [`CONSECUTIVE_FAILURES`].
    pub consecutive_failures: Option<u32>,
    /// The 95th percentile of latency that opens it; within [`P95_MS`].
    pub p95_ms: Option<u64>,
    /// How long it stays open at first; at least [`COOLDOWN_MIN`].
    pub cooldown: Option<Duration>,
    /// How long it stays open at most; at least [`COOLDOWN_MIN`].
    pub cooldown_max: Option<Duration>,
    /// Probes that must succeed before it closes; within [`PROBES`].
    pub probes: Option<u32>,
}

/// The fields of [`QuotaLayer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenQuota {
    /// Events per second over a long time; within [`RATE`].
    pub per_second: Option<u32>,
    /// Events that may come at once after a quiet time; within [`RATE`]. As many as `per_second` without it.
    pub burst: Option<u32>,
    /// Events in one day of UTC; within [`PER_DAY`].
    pub per_day: Option<u64>,
}

/// The fields of [`RetentionLayer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenRetention {
    /// How long events, deliveries and attempts are kept; within [`RETENTION_MIN`] and [`RETENTION_MAX`].
    pub history: Option<Duration>,
    /// How long dead letters are kept; within the same bounds.
    pub dead_letters: Option<Duration>,
}

/// The fields of [`SigningSchemes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenSigning {
    /// At least one.
    pub schemes: Option<Vec<SigningScheme>>,
}

/// A way to sign requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningScheme {
    /// See [`SigningSchemes::standard`].
    Standard,
    /// See [`SigningSchemes::harborhook`].
    Harborhook,
}

impl WrittenPolicy {
    /// The layer that is written here.
    ///
    /// `prefix` comes before the name of every field that is spoken of: it is empty, or ends in a dot.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn layer(&self, prefix: &str) -> Result<PolicyLayer, Vec<FieldError>> {
        let mut checks = Checks { prefix, errors: Vec::new() };
        let layer = PolicyLayer {
            timeout: checks.within("timeout_ms", self.timeout_ms, TIMEOUT_MS).map(Duration::from_millis),
            retry: self.retry.layer(&mut checks),
            rate_limit: self.rate_limit.limit(&mut checks),
            max_in_flight: checks.within("max_in_flight", self.max_in_flight, IN_FLIGHT),
            breaker: self.circuit_breaker.layer(&mut checks),
            ordering: self.ordering,
            on_dead: self.on_dead,
            signing: self.signing.schemes(&mut checks),
        };
        if checks.errors.is_empty() { Ok(layer) } else { Err(checks.errors) }
    }
}

impl WrittenRetry {
    /// The names of the fields that are written and belong to some strategies only.
    pub fn strategy_fields(&self) -> impl Iterator<Item = &'static str> {
        let fields = [
            ("retry.schedule", self.schedule.is_some()),
            ("retry.base", self.base.is_some()),
            ("retry.factor", self.factor.is_some()),
            ("retry.increment", self.increment.is_some()),
            ("retry.delay", self.delay.is_some()),
        ];
        fields.into_iter().filter(|(_, is_written)| *is_written).map(|(field, _)| field)
    }

    fn layer(&self, checks: &mut Checks<'_>) -> RetryLayer {
        RetryLayer {
            backoff: self.backoff(checks),
            max_attempts: checks.within("retry.max_attempts", self.max_attempts, ATTEMPTS),
            jitter: checks.within("retry.jitter", self.jitter, JITTER),
            max_delay: checks.wait("retry.max_delay", self.max_delay),
            client_errors: self.client_errors.and_then(|granted| match granted {
                ClientErrors::Retries(n) => checks
                    .within("retry.client_errors", Some(n), CLIENT_ERROR_RETRIES)
                    .map(ClientErrors::Retries),
                ClientErrors::All => Some(ClientErrors::All),
            }),
        }
    }

    fn backoff(&self, checks: &mut Checks<'_>) -> Option<Backoff> {
        let Some(strategy) = self.strategy.or(self.schedule.as_ref().map(|_| RetryStrategy::Schedule)) else {
            for field in self.strategy_fields() {
                checks.refuse(field, format!("needs {}retry.strategy", checks.prefix));
            }
            return None;
        };
        if !self.fits(strategy, checks) {
            return None;
        }
        match strategy {
            RetryStrategy::Schedule => self.schedule(checks),
            RetryStrategy::Exponential => {
                let factor = Some(self.factor.unwrap_or(FACTOR_DEFAULT));
                let (base, factor) =
                    (checks.wait("retry.base", self.base), checks.within("retry.factor", factor, FACTOR));
                Some(Backoff::Exponential { base: base?, factor: factor? })
            }
            RetryStrategy::Linear => {
                let (base, increment) =
                    (checks.wait("retry.base", self.base), checks.wait("retry.increment", self.increment));
                Some(Backoff::Linear { base: base?, increment: increment? })
            }
            RetryStrategy::Fixed => checks.wait("retry.delay", self.delay).map(Backoff::Fixed),
            RetryStrategy::Standard => Some(Backoff::Standard),
        }
    }

    /// Whether all that the strategy requires is written, and nothing that belongs to another one.
    fn fits(&self, strategy: RetryStrategy, checks: &mut Checks<'_>) -> bool {
        let (required, optional) = strategy.fields();
        let written: Vec<_> = self.strategy_fields().collect();
        let stray = written.iter().filter(|field| !required.contains(field) && !optional.contains(field));
        let missing = required.iter().filter(|field| !written.contains(field));
        let broken: Vec<_> = stray
            .map(|field| (field, "does not go with"))
            .chain(missing.map(|field| (field, "is required by")))
            .collect();
        for (field, rule) in &broken {
            checks.refuse(field, format!("{rule} strategy `{}`", strategy.word()));
        }
        broken.is_empty()
    }

    fn schedule(&self, checks: &mut Checks<'_>) -> Option<Backoff> {
        let waits = self.schedule.as_ref()?;
        if waits.len() > SCHEDULE_WAITS_MAX {
            checks.refuse("retry.schedule", format!("must have at most {SCHEDULE_WAITS_MAX} waits"));
            return None;
        }
        if waits.is_empty() && self.max_attempts != Some(1) {
            let rule = format!("may be empty only where {}retry.max_attempts is 1", checks.prefix);
            checks.refuse("retry.schedule", rule);
        }
        for (n, wait) in waits.iter().enumerate() {
            checks.wait(&format!("retry.schedule[{n}]"), Some(*wait));
        }
        Some(Backoff::Schedule(waits.clone()))
    }
}

impl RetryStrategy {
    /// What it is called where policies are written.
    fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Exponential => "exponential",
            Self::Linear => "linear",
            Self::Fixed => "fixed",
            Self::Standard => "standard",
        }
    }

    /// The fields that it requires, and those that it takes besides.
    fn fields(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Schedule => (&["retry.schedule"], &[]),
            Self::Exponential => (&["retry.base"], &["retry.factor"]),
            Self::Linear => (&["retry.base", "retry.increment"], &[]),
            Self::Fixed => (&["retry.delay"], &[]),
            Self::Standard => (&[], &[]),
        }
    }
}

impl WrittenRateLimit {
    fn limit(self, checks: &mut Checks<'_>) -> Option<RateLimit> {
        if self.per_second.is_none() && self.burst.is_some() {
            let rule = format!("needs {}rate_limit.per_second", checks.prefix);
            checks.refuse("rate_limit.burst", rule);
        }
        let per_second = checks.within("rate_limit.per_second", self.per_second, RATE);
        let burst = checks.within("rate_limit.burst", self.burst, RATE);
        Some(RateLimit { per_second: per_second?, burst: burst.or(per_second)? })
    }
}

impl WrittenQuota {
    /// The layer that is written here; `prefix` as in [`WrittenPolicy::layer`].
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn layer(self, prefix: &str) -> Result<QuotaLayer, Vec<FieldError>> {
        let mut checks = Checks { prefix, errors: Vec::new() };
        if self.per_second.is_none() && self.burst.is_some() {
            checks.refuse("quota.burst", format!("needs {prefix}quota.per_second"));
        }
        let per_second = checks.within("quota.per_second", self.per_second, RATE);
        let burst = checks.within("quota.burst", self.burst, RATE);
        let rate = per_second.zip(burst.or(per_second));
        let layer = QuotaLayer {
            rate: rate.map(|(per_second, burst)| RateLimit { per_second, burst }),
            per_day: checks.within("quota.per_day", self.per_day, PER_DAY),
        };
        if checks.errors.is_empty() { Ok(layer) } else { Err(checks.errors) }
    }
}

impl WrittenRetention {
    /// The layer that is written here; `prefix` as in [`WrittenPolicy::layer`].
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn layer(self, prefix: &str) -> Result<RetentionLayer, Vec<FieldError>> {
        let mut checks = Checks { prefix, errors: Vec::new() };
        let layer = RetentionLayer {
            history: checks.retention("retention.history", self.history),
            dead_letters: checks.retention("retention.dead_letters", self.dead_letters),
        };
        if checks.errors.is_empty() { Ok(layer) } else { Err(checks.errors) }
    }
}

impl WrittenBreaker {
    fn layer(self, checks: &mut Checks<'_>) -> BreakerLayer {
        let (cooldown, cooldown_max) = (
            checks.cooldown("circuit_breaker.cooldown", self.cooldown),
            checks.cooldown("circuit_breaker.cooldown_max", self.cooldown_max),
        );
        if cooldown.zip(cooldown_max).is_some_and(|(first, longest)| first > longest) {
            let rule = format!("must be at least {}circuit_breaker.cooldown", checks.prefix);
            checks.refuse("circuit_breaker.cooldown_max", rule);
        }
        BreakerLayer {
            is_enabled: self.enabled,
            consecutive_failures: checks.within(
                "circuit_breaker.consecutive_failures",
                self.consecutive_failures,
                CONSECUTIVE_FAILURES,
            ),
            p95: checks.within("circuit_breaker.p95_ms", self.p95_ms, P95_MS).map(Duration::from_millis),
            cooldown,
            cooldown_max,
            probes: checks.within("circuit_breaker.probes", self.probes, PROBES),
        }
    }
}

/// The part of a layer, as it could have been written.
impl From<BreakerLayer> for WrittenBreaker {
    fn from(layer: BreakerLayer) -> Self {
        Self {
            enabled: layer.is_enabled,
            consecutive_failures: layer.consecutive_failures,
            p95_ms: layer.p95.map(whole_ms),
            cooldown: layer.cooldown,
            cooldown_max: layer.cooldown_max,
            probes: layer.probes,
        }
    }
}

/// The breaker in force, as it could have been written.
impl From<BreakerPolicy> for WrittenBreaker {
    fn from(policy: BreakerPolicy) -> Self {
        Self {
            enabled: Some(policy.is_enabled),
            consecutive_failures: Some(policy.consecutive_failures),
            p95_ms: policy.p95.map(whole_ms),
            cooldown: Some(policy.cooldown),
            cooldown_max: Some(policy.cooldown_max),
            probes: Some(policy.probes),
        }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl WrittenSigning {
    fn schemes(&self, checks: &mut Checks<'_>) -> Option<SigningSchemes> {
        let schemes = self.schemes.as_ref()?;
        if schemes.is_empty() {
            checks.refuse("signing.schemes", "must name at least one scheme");
        }
        Some(SigningSchemes {
            standard: schemes.contains(&SigningScheme::Standard),
            harborhook: schemes.contains(&SigningScheme::Harborhook),
        })
    }
}

/// The part of a layer, as it could have been written.
impl From<&RetryLayer> for WrittenRetry {
    fn from(layer: &RetryLayer) -> Self {
        Self {
            max_attempts: layer.max_attempts,
            jitter: layer.jitter,
            max_delay: layer.max_delay,
            client_errors: layer.client_errors,
            ..layer.backoff.as_ref().map(Self::from).unwrap_or_default()
        }
    }
}

/// The retries in force, as they could have been written.
impl From<&RetryPolicy> for WrittenRetry {
    fn from(policy: &RetryPolicy) -> Self {
        Self {
            max_attempts: Some(policy.max_attempts),
            jitter: Some(policy.jitter),
            max_delay: Some(policy.max_delay),
            client_errors: Some(policy.client_errors),
            ..Self::from(&policy.backoff)
        }
    }
}

/// The strategy, with what belongs to it.
impl From<&Backoff> for WrittenRetry {
    fn from(backoff: &Backoff) -> Self {
        let of = |strategy| Self { strategy: Some(strategy), ..Self::default() };
        match backoff {
            Backoff::Schedule(waits) => Self { schedule: Some(waits.clone()), ..of(RetryStrategy::Schedule) },
            Backoff::Exponential { base, factor } => {
                Self { base: Some(*base), factor: Some(*factor), ..of(RetryStrategy::Exponential) }
            }
            Backoff::Linear { base, increment } => {
                Self { base: Some(*base), increment: Some(*increment), ..of(RetryStrategy::Linear) }
            }
            Backoff::Fixed(delay) => Self { delay: Some(*delay), ..of(RetryStrategy::Fixed) },
            Backoff::Standard => of(RetryStrategy::Standard),
        }
    }
}

/// What was found wrong so far.
struct Checks<'a> {
    prefix: &'a str,
    errors: Vec<FieldError>,
}

impl Checks<'_> {
    fn refuse(&mut self, field: &str, rule: impl ToString) {
        self.errors.push(FieldError::new(format!("{}{field}", self.prefix), rule));
    }

    /// The value, if it is within its bounds.
    fn within<T: PartialOrd + Display>(
        &mut self,
        field: &str,
        value: Option<T>,
        bounds: RangeInclusive<T>,
    ) -> Option<T> {
        let value = value?;
        if bounds.contains(&value) {
            return Some(value);
        }
        self.refuse(field, format!("must be {} to {}", bounds.start(), bounds.end()));
        None
    }

    /// The wait, if it is not too long.
    fn wait(&mut self, field: &str, wait: Option<Duration>) -> Option<Duration> {
        let wait = wait?;
        if wait <= DURATION_MAX {
            return Some(wait);
        }
        self.refuse(field, format!("must be at most {}", print_duration(DURATION_MAX)));
        None
    }

    /// How long something is kept, if that is neither too short nor too long.
    fn retention(&mut self, field: &str, kept: Option<Duration>) -> Option<Duration> {
        let kept = kept?;
        if (RETENTION_MIN..=RETENTION_MAX).contains(&kept) {
            return Some(kept);
        }
        let (min, max) = (print_duration(RETENTION_MIN), print_duration(RETENTION_MAX));
        self.refuse(field, format!("must be {min} to {max}"));
        None
    }

    /// The cool-down, if it is neither too short nor too long.
    fn cooldown(&mut self, field: &str, cooldown: Option<Duration>) -> Option<Duration> {
        if cooldown.is_some_and(|cooldown| cooldown < COOLDOWN_MIN) {
            self.refuse(field, format!("must be at least {}", print_duration(COOLDOWN_MIN)));
            return None;
        }
        self.wait(field, cooldown)
    }
}

#[cfg(test)]
mod tests;
