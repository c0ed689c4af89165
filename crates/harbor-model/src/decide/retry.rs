//! Chooses what becomes of a delivery after an attempt.

use std::time::Duration;

use crate::decide::classify::Verdict;
use crate::delivery::Cause;
use crate::policy::retry::{ClientErrors, RetryPolicy};
use crate::time::Timestamp;

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The endpoint has it.
    Delivered,
    /// It is tried again at this instant.
    RetryAt(Timestamp),
    /// It is tried no more.
    Dead(Cause),
}

/// Chooses what becomes of a delivery whose attempt number `tried` came out as `verdict`.
///
/// `jitter` is a random number in `0.0..1.0`.
pub fn decide(verdict: Verdict, tried: u16, policy: &RetryPolicy, now: Timestamp, jitter: f64) -> Next {
    assert!((0.0..1.0).contains(&jitter), "jitter {jitter} lies outside 0.0..1.0");
    assert!(tried >= 1, "an attempt that was made has a number");

    let (wait_asked, exhausted) = match verdict {
        Verdict::Accepted => return Next::Delivered,
        Verdict::Gone => return Next::Dead(Cause::EndpointGone),
        Verdict::Redirected => return Next::Dead(Cause::Redirect),
        Verdict::Blocked => return Next::Dead(Cause::BlockedAddress),
        Verdict::ClientError => match policy.client_errors {
            ClientErrors::Retries(granted) if tried > granted => return Next::Dead(Cause::ClientError),
            ClientErrors::Retries(_) | ClientErrors::All => (Duration::ZERO, Cause::ClientError),
        },
        Verdict::Failed { wait_asked } => (wait_asked.unwrap_or_default(), Cause::AttemptsExhausted),
    };
    if tried >= policy.max_attempts {
        return Next::Dead(exhausted);
    }

    // An endpoint may ask us to wait longer, never shorter, and not longer than its policy allows.
    let wait = stray(policy.backoff.wait_after(tried), policy.jitter, jitter).max(wait_asked);
    Next::RetryAt(now + wait.min(policy.max_delay))
}

/// After so many interruptions a delivery is dead: it seems to be what stops workers.
pub const INTERRUPTIONS_MAX: u16 = 5;

/// How long a delivery rests whose attempt broke off by a fault of ours.
const INTERRUPTION_REST: Duration = Duration::from_secs(5);

/// Chooses what becomes of a delivery that was interrupted for the `interrupted`th time.
pub fn after_interruption(interrupted: u16, now: Timestamp) -> Next {
    if interrupted >= INTERRUPTIONS_MAX {
        return Next::Dead(Cause::WorkerCrash);
    }
    Next::RetryAt(now + INTERRUPTION_REST)
}

/// `wait`, moved by up to ±`part` of itself as `chance` in `0.0..1.0` says.
fn stray(wait: Duration, part: f64, chance: f64) -> Duration {
    let factor = 1.0 + part * (2.0 * chance - 1.0);
    Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(wait)
}

#[cfg(test)]
mod tests;
