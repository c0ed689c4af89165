//! What a load does, and who receives it.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::payload::{LANES_MAX, PAYLOAD_BYTES_MIN, WEBHOOK_BYTES_MIN};

/// The most events of one `events:batchPublish`.
const BATCH_MAX: u64 = 1_000;

/// What the load does and who receives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// How many tenants publish in turn.
    pub tenants: u64,
    /// Whose webhooks the events are: they come in through a source of each tenant, which verifies them and
    /// relays them straight to its endpoint. Without one, events are published through the API.
    pub source: Option<Provider>,
    /// How many endpoints of each tenant subscribe; 0 measures publishing alone.
    pub fan_out: u64,
    /// How many events one request publishes.
    pub batch: u64,
    /// Over how many connections.
    pub connections: usize,
    /// Events a second of an open loop; without it the loop is closed.
    pub rate: Option<u64>,
    /// The size of each payload.
    pub payload_bytes: usize,
    /// How many events nobody subscribes to are published before, so that tables are not empty.
    pub preload: u64,
    /// The share of attempts that the receiver answers with 500, from 0 to 1.
    pub fail_rate: f64,
    /// How many ordering keys the events of each tenant have; 0 for events without one. Each connection has keys of
    /// its own, so that the order of a key's publishes is known.
    pub ordering_keys: u64,
    /// How deliveries travel.
    pub transport: Transport,
    /// How long the same load runs before anything is measured.
    #[serde(deserialize_with = "duration::deserialize")]
    pub warmup: Duration,
    /// How long is measured.
    #[serde(deserialize_with = "duration::deserialize")]
    pub duration: Duration,
}

/// Whose webhooks come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// HMAC-SHA256 over the body; a header names the event.
    Github,
    /// HMAC-SHA256 over a timestamp and the body, which names the event.
    Stripe,
}

/// How deliveries travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// In the clear, over HTTP/1.1.
    Http,
    /// Over TLS, HTTP/1.1.
    Https,
    /// Over TLS, HTTP/2.
    HttpsH2,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            tenants: 1,
            source: None,
            fan_out: 1,
            batch: 1,
            connections: 64,
            rate: None,
            payload_bytes: 512,
            preload: 0,
            fail_rate: 0.0,
            ordering_keys: 0,
            transport: Transport::Http,
            warmup: Duration::from_secs(5),
            duration: Duration::from_secs(60),
        }
    }
}

impl Workload {
    /// Refuses what cannot be run.
    pub fn validate(&self) -> Result<()> {
        ensure!(self.tenants > 0, "tenants is 0");
        ensure!(self.connections > 0, "connections is 0");
        ensure!(self.rate != Some(0), "rate is 0");
        ensure!((1..=BATCH_MAX).contains(&self.batch), "batch is {}, not 1 to {BATCH_MAX}", self.batch);
        ensure!(
            self.payload_bytes >= PAYLOAD_BYTES_MIN,
            "payload_bytes is {}, less than {PAYLOAD_BYTES_MIN}",
            self.payload_bytes
        );
        ensure!(
            self.ordering_keys == 0 || self.ordering_keys >= self.connections as u64,
            "{} ordering keys are too few for {} connections with keys of their own",
            self.ordering_keys,
            self.connections
        );
        ensure!(self.ordering_keys <= LANES_MAX, "ordering_keys is more than {LANES_MAX}");
        if self.source.is_some() {
            self.validate_source()?;
        }
        ensure!((0.0..=1.0).contains(&self.fail_rate), "fail_rate is {}, not 0 to 1", self.fail_rate);
        ensure!(!self.duration.is_zero(), "duration is 0");
        Ok(())
    }

    fn validate_source(&self) -> Result<()> {
        ensure!(self.batch == 1, "a source takes one event with each request, not {}", self.batch);
        ensure!(self.fan_out == 1, "a source relays straight to one endpoint, not to {}", self.fan_out);
        ensure!(self.ordering_keys == 0, "what comes in through a source has no ordering key");
        ensure!(
            self.payload_bytes >= WEBHOOK_BYTES_MIN,
            "payload_bytes is {}, less than {WEBHOOK_BYTES_MIN}, which a webhook has at least",
            self.payload_bytes
        );
        Ok(())
    }
}
