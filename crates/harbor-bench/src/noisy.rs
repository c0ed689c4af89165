//! A tenant alone, and beside a noisy neighbour.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::net::TcpSocket;

use crate::account::{self, Account};
use crate::load;
use crate::measure::{Ground, TENANT};
use crate::measurement::{Measurement, ratio};
use crate::server::Site;
use crate::settings::{Noisy, Settings, Workload};
use crate::traffic::{Cast, Traffic};

const NEIGHBOUR: &str = "neighbour";
/// Latencies below this count as this: between two that nobody notices, a ratio says nothing.
const LATENCY_FLOOR_MS: f64 = 10.0;

/// What it came to.
#[derive(Clone, Debug, Serialize)]
pub struct NoisyMeasurement {
    /// The tenant alone.
    pub alone: Measurement,
    /// The same beside the neighbour; what the server used counts both.
    pub beside: Measurement,
    /// The neighbour.
    pub neighbour: Neighbour,
}

/// What the neighbour did.
#[derive(Clone, Debug, Serialize)]
pub struct Neighbour {
    /// How long it published.
    pub seconds: f64,
    /// Events that were answered 429 and sent again, each time that they were.
    pub sent_again: u64,
    /// What was refused or failed, by status and code.
    pub errors: BTreeMap<String, u64>,
    /// What became of its acknowledged events.
    pub account: Account,
}

/// Measures a tenant alone and beside its neighbour.
pub async fn measure(
    site: &Site,
    settings: &Settings,
    noisy: &Noisy,
    ground: &Ground<'_>,
) -> Result<NoisyMeasurement> {
    let tenant = Traffic::prepare(site, settings, Cast::healthy(TENANT, &noisy.workload), ground).await?;
    tenant.preload().await?;
    tenant.warm_up().await?;
    let pace = tenant.pace(noisy.workload.duration);
    let alone = tenant.measure(pace).await?;

    let refusing = Refusing::bind()?;
    let loud = Workload { rate: noisy.rate, connections: noisy.connections, ..Workload::default() };
    let cast = Cast {
        name: NEIGHBOUR,
        workload: &loud,
        answers_after: noisy.answers_after,
        urls_elsewhere: vec![format!("http://{}/", refusing.address)],
    };
    let neighbour = Traffic::prepare(site, &settings.with_endpoint(&noisy.endpoint), cast, ground).await?;
    let beside = async {
        tokio::time::sleep(noisy.lead).await;
        tenant.measure(pace).await
    };
    let (beside, noise) = tokio::try_join!(beside, neighbour.publish_stubbornly(noise_pace(noisy)))?;
    let account = account::take(site, &neighbour.tenants()[0], &neighbour.acknowledged(0)?).await?;
    let neighbour =
        Neighbour { seconds: noise.seconds, sent_again: noise.sent_again, errors: noise.errors, account };
    Ok(NoisyMeasurement { alone, beside, neighbour })
}

/// Returns how the neighbour publishes: until it has published everything, or the tenant beside it is done.
fn noise_pace(noisy: &Noisy) -> load::Pace {
    let within = noisy.lead + noisy.workload.duration;
    match noisy.rate {
        None => load::Pace::Count { events: noisy.events, within },
        Some(events_per_second) => {
            let all = Duration::from_secs_f64(noisy.events as f64 / events_per_second as f64);
            load::Pace::Open { events_per_second, duration: within.min(all) }
        }
    }
}

/// An address that refuses connections, as long as this is held.
struct Refusing {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Refusing {
    fn bind() -> Result<Self> {
        // Bound, so that nobody else listens there, and never told to listen.
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }
}

impl NoisyMeasurement {
    /// Returns how much longer the slowest answers took beside the neighbour.
    #[must_use]
    pub fn ack_p99_ratio(&self) -> f64 {
        latency_ratio(self.alone.ack.p99_ms, self.beside.ack.p99_ms)
    }

    /// Returns how much longer the slowest deliveries took beside the neighbour.
    #[must_use]
    pub fn end_to_end_p99_ratio(&self) -> f64 {
        latency_ratio(self.alone.end_to_end.p99_ms, self.beside.end_to_end.p99_ms)
    }

    /// Returns what makes the run worthless, one sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.alone.check.faults();
        faults.extend(self.beside.check.faults());
        let of_neighbour = self.neighbour.account.faults();
        faults.extend(of_neighbour.iter().map(|fault| format!("of the neighbour, {fault}")));
        if self.neighbour.account.events == 0 {
            faults.push("the neighbour was not noisy: none of its events was acknowledged".to_owned());
        }
        faults
    }
}

/// Divides latencies, none below the floor.
pub(crate) fn latency_ratio(before_ms: f64, after_ms: f64) -> f64 {
    ratio(after_ms.max(LATENCY_FLOOR_MS), before_ms.max(LATENCY_FLOOR_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_that_nobody_notices_are_equal() {
        let check = |before, after, expected| assert_eq!(latency_ratio(before, after), expected);
        check(1.0, 9.0, 1.0);
        check(1.0, 20.0, 2.0);
        check(20.0, 50.0, 2.5);
        check(40.0, 5.0, 0.25);
    }

    #[test]
    fn the_neighbour_ends_with_its_events_or_with_the_tenant() {
        let noisy = |rate| Noisy { rate, ..Noisy::default() };
        let check = |rate, seconds| {
            let load::Pace::Open { duration, .. } = noise_pace(&noisy(Some(rate))) else { unreachable!() };
            assert_eq!(duration, Duration::from_secs(seconds), "at {rate}/s");
        };
        check(5_000, 10);
        check(100, 62);
        let load::Pace::Count { events, within } = noise_pace(&noisy(None)) else { unreachable!() };
        assert_eq!((events, within), (50_000, Duration::from_secs(62)));
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_so() {
        let refusing = Refusing::bind().unwrap();
        let error = tokio::net::TcpStream::connect(refusing.address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
