//! When an endpoint is left alone for a while: the settings of its circuit breaker.

use std::time::Duration;

/// What one layer sets of the circuit breaker. A field that is `None` is inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerLayer {
    /// See [`BreakerPolicy::is_enabled`].
    pub is_enabled: Option<bool>,
    /// See [`BreakerPolicy::consecutive_failures`].
    pub consecutive_failures: Option<u32>,
    /// See [`BreakerPolicy::p95`].
    pub p95: Option<Duration>,
    /// See [`BreakerPolicy::cooldown`].
    pub cooldown: Option<Duration>,
    /// See [`BreakerPolicy::cooldown_max`].
    pub cooldown_max: Option<Duration>,
    /// See [`BreakerPolicy::probes`].
    pub probes: Option<u32>,
}

/// The settings of the circuit breaker in force for one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Whether it ever opens.
    pub is_enabled: bool,
    /// Opens after this many failures without a success between them; at least 1.
    pub consecutive_failures: u32,
    /// Opens when the 95th percentile of the latest latencies exceeds this; none for never.
    pub p95: Option<Duration>,
    /// How long it stays open the first time. Each probe that fails doubles it.
    pub cooldown: Duration,
    /// The longest that it stays open before a probe.
    pub cooldown_max: Duration,
    /// How many probes must succeed before it closes; at least 1.
    pub probes: u32,
}

impl BreakerPolicy {
    /// What holds where no layer sets anything.
    pub const DEFAULT: Self = Self {
        is_enabled: true,
        consecutive_failures: 10,
        p95: None,
        cooldown: Duration::from_secs(30),
        cooldown_max: Duration::from_secs(300),
        probes: 1,
    };

    /// How long it stays open after a probe failed that came after a wait of `cooldown`.
    pub fn next_cooldown(&self, cooldown: Duration) -> Duration {
        // A first cool-down that is longer than the longest counts.
        cooldown.saturating_mul(2).min(self.cooldown_max.max(self.cooldown))
    }
}
