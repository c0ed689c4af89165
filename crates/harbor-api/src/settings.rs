//! The limits of the API.

use std::time::Duration;

use ipnet::IpNet;

use crate::json::BodyLimits;

/// The limits of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most bytes in the body of a publish.
    pub publish_body_bytes_max: usize,
    /// The most bytes in the body of a batch.
    pub batch_body_bytes_max: usize,
    /// The most events in a batch.
    pub batch_events_max: usize,
    /// The most bytes in what a provider sends to a source.
    pub ingest_body_bytes_max: usize,
    /// The most bytes in all of those that are being taken in at a time. More are refused: anybody may send them.
    pub ingest_bodies_bytes_max: usize,
    /// The most bytes in any other body.
    pub body_bytes_max: usize,
    /// The time in which a body must have arrived.
    pub body_timeout: Duration,
    /// The time for any request but a publish, from its head to its answer.
    pub request_timeout: Duration,
    /// The time in which the store must say that it is there.
    pub readiness_timeout: Duration,
    /// The items on a page that names no limit.
    pub list_limit_default: u16,
    /// The most items on a page.
    pub list_limit_max: u16,
    /// The most endpoints of one tenant.
    pub endpoints_max: usize,
    /// The most subscriptions of one endpoint.
    pub subscriptions_per_endpoint_max: usize,
    /// The most sources of one tenant.
    pub sources_max: usize,
    /// Proxies that are believed when they say where a request to a source comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// How long an old secret signs as well, unless the caller says so.
    pub secret_overlap_default: Duration,
    /// The longest that an old secret may sign as well.
    pub secret_overlap_max: Duration,
    /// The most secrets that sign at a time, since each adds a signature to every request.
    pub secrets_max: usize,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

impl Default for Settings {
    fn default() -> Self {
        Self {
            publish_body_bytes_max: 1024 * 1024,
            batch_body_bytes_max: 16 * 1024 * 1024,
            batch_events_max: 1_000,
            ingest_body_bytes_max: 1024 * 1024,
            ingest_bodies_bytes_max: 256 * 1024 * 1024,
            body_bytes_max: 256 * 1024,
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            readiness_timeout: Duration::from_secs(2),
            list_limit_default: 50,
            list_limit_max: 500,
            endpoints_max: 10_000,
            subscriptions_per_endpoint_max: 1_000,
            sources_max: 1_000,
            trusted_proxies: Vec::new(),
            secret_overlap_default: 24 * HOUR,
            secret_overlap_max: 30 * 24 * HOUR,
            secrets_max: 5,
        }
    }
}

impl Settings {
    /// The limits of a body that is neither a publish nor a batch.
    pub(crate) fn body_limits(&self) -> BodyLimits {
        BodyLimits { bytes_max: self.body_bytes_max, timeout: self.body_timeout }
    }

    /// Says everything that is wrong with the settings.
    ///
    /// # Errors
    /// A limit is zero or contradicts another.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, rule: &str| {
            if !holds {
                wrong.push(rule.to_owned());
            }
        };
        let bodies = [
            self.publish_body_bytes_max,
            self.batch_body_bytes_max,
            self.ingest_body_bytes_max,
            self.body_bytes_max,
        ];
        must(bodies.iter().all(|max| *max >= 1024), "body limits must be at least 1024 bytes");
        must(
            self.ingest_bodies_bytes_max >= self.ingest_body_bytes_max,
            "ingest_bodies_bytes_max must be at least ingest_body_bytes_max",
        );
        must(self.batch_events_max >= 1, "batch_events_max must be at least 1");
        let times = [self.body_timeout, self.request_timeout, self.readiness_timeout];
        must(times.iter().all(|time| !time.is_zero()), "timeouts must be longer than nothing");
        let limits = 1..=self.list_limit_max;
        must(limits.contains(&self.list_limit_default), "list_limit_default must be 1 to list_limit_max");
        must(self.endpoints_max >= 1, "endpoints_max must be at least 1");
        must(self.sources_max >= 1, "sources_max must be at least 1");
        must(self.subscriptions_per_endpoint_max >= 1, "subscriptions_per_endpoint_max must be at least 1");
        must(
            self.secret_overlap_default <= self.secret_overlap_max,
            "secret_overlap_default must be at most secret_overlap_max",
        );
        must(self.secrets_max >= 2, "secrets_max must be at least 2, the new secret and the old one");
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_every_mistake_is_named() {
        assert_eq!(Settings::default().validate(), Ok(()));
        let wrong = Settings { secrets_max: 1, list_limit_default: 501, ..Settings::default() };
        assert_eq!(wrong.validate().unwrap_err().len(), 2);
    }
}
