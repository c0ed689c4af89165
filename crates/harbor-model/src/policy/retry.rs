//! When a failed delivery is tried again.

use std::time::Duration;

/// The part of a layer that bears on retries. A field that is `None` is inherited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetryLayer {
    /// The most attempts, the first among them.
    pub max_attempts: Option<u16>,
    /// The waits between attempts.
    pub backoff: Option<Backoff>,
    /// How far a wait strays at random, as a part of it: 0.1 is ±10 %.
    pub jitter: Option<f64>,
    /// The longest wait, also of one that the endpoint asks for.
    pub max_delay: Option<Duration>,
    /// Whether a 4xx is tried again.
    pub client_errors: Option<ClientErrors>,
}

/// The retries in force for one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// See [`RetryLayer::max_attempts`].
    pub max_attempts: u16,
    /// See [`RetryLayer::backoff`].
    pub backoff: Backoff,
    /// See [`RetryLayer::jitter`].
    pub jitter: f64,
    /// See [`RetryLayer::max_delay`].
    pub max_delay: Duration,
    /// See [`RetryLayer::client_errors`].
    pub client_errors: ClientErrors,
}

/// The waits between attempts.
#[derive(Clone, Debug, PartialEq)]
pub enum Backoff {
    /// These waits in turn; the last repeats.
    Schedule(Vec<Duration>),
    /// `base`, then each wait `factor` times the one before.
    Exponential {
        /// The first wait.
        base: Duration,
        /// At least 1.
        factor: f64,
    },
    /// `base`, then each wait longer than the one before by `increment`.
    Linear {
        /// The first wait.
        base: Duration,
        /// What each wait adds.
        increment: Duration,
    },
    /// The same wait each time.
    Fixed(Duration),
    /// The schedule that Standard Webhooks recommends, over about three days.
    Standard,
}

/// How many retries a client error (a 4xx that is not a matter of time) is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientErrors {
    /// This many.
    Retries(u16),
    /// As many as any failure.
    All,
}

impl ClientErrors {
    /// No retry: the delivery is dead at once.
    pub const DEAD_AT_ONCE: Self = Self::Retries(0);
}

/// ±10 %.
pub const JITTER_DEFAULT: f64 = 0.1;

/// The longest wait where no layer sets one.
pub const MAX_DELAY_DEFAULT: Duration = Duration::from_secs(60 * 60);

const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 60 * 60)
}

const DEFAULT_SCHEDULE: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

const STANDARD_SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    hours(2),
    hours(5),
    hours(10),
    hours(14),
    hours(20),
    hours(24),
];

impl Backoff {
    /// 1s, 5s, 10s, 30s, 1m.
    pub fn default_schedule() -> Self {
        Self::Schedule(DEFAULT_SCHEDULE.to_vec())
    }

    /// The attempts where no layer sets them: five, or all that the named schedule has waits for.
    pub fn max_attempts_default(&self) -> u16 {
        match self {
            Self::Standard => 10,
            Self::Schedule(_) | Self::Exponential { .. } | Self::Linear { .. } | Self::Fixed(_) => 5,
        }
    }

    /// The longest wait where no layer sets it: an hour, or the longest wait that was written out.
    ///
    /// Whoever writes `["2h"]` wants two hours, not the one of the default.
    pub fn max_delay_default(&self) -> Duration {
        let written = match self {
            Self::Schedule(waits) => waits.iter().copied().max().unwrap_or_default(),
            Self::Fixed(wait) => *wait,
            Self::Standard => hours(24),
            Self::Exponential { base, .. } | Self::Linear { base, .. } => *base,
        };
        written.max(MAX_DELAY_DEFAULT)
    }

    /// The wait after the attempt with number `tried` (the first is 1), before jitter and bounds.
    pub fn wait_after(&self, tried: u16) -> Duration {
        assert!(tried >= 1, "there is no wait before the first attempt");
        let earlier = tried - 1;
        match self {
            Self::Schedule(waits) => nth_or_last(waits, earlier),
            Self::Standard => nth_or_last(&STANDARD_SCHEDULE, earlier),
            Self::Exponential { base, factor } => {
                let seconds = base.as_secs_f64() * factor.powi(i32::from(earlier));
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }
            Self::Linear { base, increment } => {
                base.saturating_add(increment.saturating_mul(u32::from(earlier)))
            }
            Self::Fixed(wait) => *wait,
        }
    }
}

/// An empty schedule has no waits to tell of: it is allowed only where there is no second attempt.
fn nth_or_last(waits: &[Duration], n: u16) -> Duration {
    waits.get(usize::from(n)).or(waits.last()).copied().unwrap_or_default()
}
