//! How deliveries are tried: the flags that tenants and endpoints share.

use clap::Args;
use harbor_wire::policy::{
    AllWord, CircuitBreakerSettings, ClientErrors, OnDead, Ordering, RateLimit, RetrySettings, RetryStrategy,
    Signing, SigningScheme,
};

use crate::args::word;

/// How deliveries are tried. What is left out is inherited.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Policy (what is left out is inherited)")]
pub(crate) struct PolicyArgs {
    /// Time for one attempt, in milliseconds
    #[arg(long, value_name = "MS")]
    pub(crate) timeout_ms: Option<u64>,

    /// The most attempts, the first among them
    #[arg(long, value_name = "N")]
    max_attempts: Option<u16>,

    /// Waits between attempts in turn, like 1s,5s,1m; the last repeats
    #[arg(long, value_name = "WAITS", value_delimiter = ',')]
    schedule: Option<Vec<String>>,

    /// How waits are reckoned
    #[arg(long, value_name = "STRATEGY", value_parser = word::parser::<RetryStrategy>(word::RETRY_STRATEGIES))]
    retry_strategy: Option<RetryStrategy>,

    /// First wait of the strategies exponential and linear
    #[arg(long, value_name = "DURATION")]
    retry_base: Option<String>,

    /// Growth of the strategy exponential
    #[arg(long, value_name = "FACTOR")]
    retry_factor: Option<f64>,

    /// Growth of the strategy linear
    #[arg(long, value_name = "DURATION")]
    retry_increment: Option<String>,

    /// Wait of the strategy fixed
    #[arg(long, value_name = "DURATION")]
    retry_delay: Option<String>,

    /// How far a wait strays at random; 0.1 is ±10 %
    #[arg(long, value_name = "SHARE")]
    jitter: Option<f64>,

    /// The longest wait, also of a Retry-After
    #[arg(long, value_name = "DURATION")]
    max_delay: Option<String>,

    /// How many retries a client error like 404 is granted: a number or `all`
    #[arg(long, value_name = "N|all", value_parser = client_errors)]
    client_errors: Option<ClientErrors>,

    /// The most requests per second, like 100/s, or 100/s:200 with a burst of 200
    #[arg(long, value_name = "RATE", value_parser = rate_limit)]
    pub(crate) rate_limit: Option<RateLimit>,

    /// The most requests in flight at a time
    #[arg(long, value_name = "N")]
    pub(crate) max_in_flight: Option<u32>,

    /// Whether the circuit breaker ever opens
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    breaker_enabled: Option<bool>,

    /// Failures in a row that open the circuit breaker
    #[arg(long, value_name = "N")]
    breaker_failures: Option<u32>,

    /// The 95th percentile of latency that opens the circuit breaker, in milliseconds
    #[arg(long, value_name = "MS")]
    breaker_p95_ms: Option<u64>,

    /// How long the circuit breaker stays open at first; each probe that fails doubles it
    #[arg(long, value_name = "DURATION")]
    breaker_cooldown: Option<String>,

    /// The longest that the circuit breaker stays open before a probe
    #[arg(long, value_name = "DURATION")]
    breaker_cooldown_max: Option<String>,

    /// Probes that must succeed before the circuit breaker closes
    #[arg(long, value_name = "N")]
    breaker_probes: Option<u32>,

    /// What deliveries go one after the other by: nothing, each ordering key, or all of an endpoint
    #[arg(long, value_name = "BY", value_parser = word::parser::<Ordering>(word::ORDERINGS))]
    pub(crate) ordering: Option<Ordering>,

    /// Whether an ordered lane passes over a dead head, or holds until somebody skips or retries it
    #[arg(long, value_name = "WHAT", value_parser = word::parser::<OnDead>(word::ON_DEAD))]
    pub(crate) on_dead: Option<OnDead>,

    /// Signatures that requests carry
    #[arg(long, value_name = "SCHEMES", value_delimiter = ',', value_parser = word::parser::<SigningScheme>(word::SIGNING_SCHEMES))]
    signing: Option<Vec<SigningScheme>>,
}

impl PolicyArgs {
    /// When to try again, if anything is said about it.
    pub(crate) fn retry(&self) -> Option<RetrySettings> {
        // `--schedule ''` is the empty schedule, which suits a single attempt.
        let schedule = self.schedule.as_ref().map(|waits| waits.iter().filter(|wait| !wait.is_empty()));
        let retry = RetrySettings {
            max_attempts: self.max_attempts,
            strategy: self.retry_strategy,
            schedule: schedule.map(|waits| waits.cloned().collect()),
            base: self.retry_base.clone(),
            factor: self.retry_factor,
            increment: self.retry_increment.clone(),
            delay: self.retry_delay.clone(),
            jitter: self.jitter,
            max_delay: self.max_delay.clone(),
            client_errors: self.client_errors,
        };
        if retry == RetrySettings::default() { None } else { Some(retry) }
    }

    /// When the endpoint is left alone for a while, if anything is said about it.
    pub(crate) fn circuit_breaker(&self) -> Option<CircuitBreakerSettings> {
        let breaker = CircuitBreakerSettings {
            enabled: self.breaker_enabled,
            consecutive_failures: self.breaker_failures,
            p95_ms: self.breaker_p95_ms,
            cooldown: self.breaker_cooldown.clone(),
            cooldown_max: self.breaker_cooldown_max.clone(),
            probes: self.breaker_probes,
        };
        if breaker == CircuitBreakerSettings::default() { None } else { Some(breaker) }
    }

    /// Which signatures requests carry, if anything is said about it.
    pub(crate) fn signing(&self) -> Option<Signing> {
        self.signing.clone().map(|schemes| Signing { schemes })
    }
}

fn client_errors(text: &str) -> Result<ClientErrors, String> {
    match text.parse() {
        Ok(retries) => Ok(ClientErrors::Retries(retries)),
        Err(_) if text == "all" => Ok(ClientErrors::All(AllWord::All)),
        Err(_) => Err("must be a whole number or `all`".to_owned()),
    }
}

/// Reads a rate, `100/s` or `100/s:200`.
///
/// # Errors
/// The text is none.
pub(crate) fn rate_limit(text: &str) -> Result<RateLimit, String> {
    let bad = || "a rate looks like 100/s, or 100/s:200 with a burst".to_owned();
    let (rate, burst) = match text.split_once(':') {
        Some((rate, burst)) => (rate, Some(burst.parse().map_err(|_| bad())?)),
        None => (text, None),
    };
    let per_second = rate.strip_suffix("/s").and_then(|number| number.parse().ok()).ok_or_else(bad)?;
    Ok(RateLimit { per_second, burst })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rates() {
        assert_eq!(rate_limit("100/s"), Ok(RateLimit { per_second: 100, burst: None }));
        assert_eq!(rate_limit("100/s:200"), Ok(RateLimit { per_second: 100, burst: Some(200) }));
        for refused in ["100", "/s", "100/m", "100/s:", "100/s:x", "-1/s"] {
            assert!(rate_limit(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn nothing_said_is_nothing_sent() {
        assert_eq!(PolicyArgs::default().retry(), None);
        assert_eq!(PolicyArgs::default().circuit_breaker(), None);
        let once = PolicyArgs {
            max_attempts: Some(1),
            schedule: Some(vec![String::new()]),
            ..PolicyArgs::default()
        };
        let expected =
            RetrySettings { max_attempts: Some(1), schedule: Some(Vec::new()), ..RetrySettings::default() };
        assert_eq!(once.retry(), Some(expected));
    }
}
