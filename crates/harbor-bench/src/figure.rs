//! The figures that have targets.

use serde::{Deserialize, Serialize};

use crate::findings::{Findings, Measured};
use crate::settings::Target;
#[cfg(test)]
use crate::settings::Work;

/// A number that a measurement comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Events acknowledged in a second.
    EventsPerSecond,
    /// Deliveries that arrived for the first time, in a second.
    DeliveriesPerSecond,
    /// Processor seconds of the server for 1,000 deliveries, or 1,000 events where nothing is delivered.
    #[serde(rename = "server_cpu_seconds_per_1000")]
    ServerCpuSecondsPer1000,
    /// Half of the answers came within this time.
    AckP50Ms,
    /// 95 % of the answers came within this time.
    AckP95Ms,
    /// 99 % of the answers came within this time.
    AckP99Ms,
    /// Half of the deliveries arrived within this time.
    EndToEndP50Ms,
    /// 99 % of the deliveries arrived within this time.
    EndToEndP99Ms,
    /// The most memory that the server ever held.
    ServerMemoryMib,
    /// From the start of an empty instance to its being ready.
    ReadySeconds,
    /// The server's program.
    ProgramMegabytes,
    /// The 99th percentile of answers, beside a noisy neighbour or a backlog to without.
    AckP99Ratio,
    /// The 99th percentile of deliveries, beside a noisy neighbour or a backlog to without.
    EndToEndP99Ratio,
    /// The same in a closed loop.
    ClosedEndToEndP99Ratio,
    /// From the start after a crash beside a backlog to being ready.
    RestartReadySeconds,
    /// From the start after a crash beside a backlog to the first fresh delivery.
    RestartDeliverySeconds,
}

/// How a figure compares with its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// The stretch.
    Goal,
    /// The promise of the first version.
    First,
    /// Neither.
    Neither,
}

impl Figure {
    /// Returns what a table calls it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events acknowledged /s",
            Self::DeliveriesPerSecond => "deliveries /s",
            Self::ServerCpuSecondsPer1000 => "server CPU s per 1,000",
            Self::AckP50Ms => "ack p50, ms",
            Self::AckP95Ms => "ack p95, ms",
            Self::AckP99Ms => "ack p99, ms",
            Self::EndToEndP50Ms => "end to end p50, ms",
            Self::EndToEndP99Ms => "end to end p99, ms",
            Self::ServerMemoryMib => "server memory, peak MiB",
            Self::ReadySeconds => "empty instance ready, s",
            Self::ProgramMegabytes => "program, MB",
            Self::AckP99Ratio => "ack p99, beside ÷ before",
            Self::EndToEndP99Ratio => "end to end p99, beside ÷ before",
            Self::ClosedEndToEndP99Ratio => "end to end p99 in a closed loop, beside ÷ before",
            Self::RestartReadySeconds => "ready after kill -9, s",
            Self::RestartDeliverySeconds => "fresh delivery after kill -9, s",
        }
    }

    /// Returns its value in what a run came to; `None` where it was not measured.
    pub(crate) fn of(self, findings: &Findings) -> Option<f64> {
        let last = findings.last();
        match (self, &findings.measured) {
            (Self::EventsPerSecond, _) => Some(last.events_per_second),
            (Self::DeliveriesPerSecond, _) => Some(last.deliveries_per_second),
            (Self::ServerCpuSecondsPer1000, _) => Some(last.server_cpu_seconds_per_1000),
            (Self::AckP50Ms, _) => Some(last.ack.p50_ms),
            (Self::AckP95Ms, _) => Some(last.ack.p95_ms),
            (Self::AckP99Ms, _) => Some(last.ack.p99_ms),
            (Self::EndToEndP50Ms, _) => Some(last.end_to_end.p50_ms),
            (Self::EndToEndP99Ms, _) => Some(last.end_to_end.p99_ms),
            (Self::ServerMemoryMib, _) => Some(last.server.memory_peak_mib),
            (Self::ReadySeconds, _) => last.ready_seconds,
            (Self::ProgramMegabytes, _) => Some(findings.program_megabytes),
            (Self::AckP99Ratio, Measured::Noisy(noisy)) => Some(noisy.ack_p99_ratio()),
            (Self::AckP99Ratio, Measured::Backlog(backlog)) => Some(backlog.ack_p99_ratio()),
            (Self::EndToEndP99Ratio, Measured::Noisy(noisy)) => Some(noisy.end_to_end_p99_ratio()),
            (Self::EndToEndP99Ratio, Measured::Backlog(backlog)) => Some(backlog.end_to_end_p99_ratio()),
            (Self::ClosedEndToEndP99Ratio, Measured::Backlog(backlog)) => {
                Some(backlog.closed_end_to_end_p99_ratio())
            }
            (Self::RestartReadySeconds, Measured::Backlog(backlog)) => Some(backlog.restart_ready_seconds),
            (Self::RestartDeliverySeconds, Measured::Backlog(backlog)) => {
                Some(backlog.restart_delivery_seconds)
            }
            (Self::AckP99Ratio | Self::EndToEndP99Ratio, Measured::Load(_))
            | (
                Self::ClosedEndToEndP99Ratio | Self::RestartReadySeconds | Self::RestartDeliverySeconds,
                Measured::Load(_) | Measured::Noisy(_),
            ) => None,
        }
    }

    /// Whether it is measured where this is done.
    #[cfg(test)]
    pub(crate) fn is_of(self, work: &Work) -> bool {
        match self {
            Self::AckP99Ratio | Self::EndToEndP99Ratio => !matches!(work, Work::Load(_)),
            Self::ClosedEndToEndP99Ratio | Self::RestartReadySeconds | Self::RestartDeliverySeconds => {
                matches!(work, Work::Backlog(_))
            }
            Self::EventsPerSecond
            | Self::DeliveriesPerSecond
            | Self::ServerCpuSecondsPer1000
            | Self::AckP50Ms
            | Self::AckP95Ms
            | Self::AckP99Ms
            | Self::EndToEndP50Ms
            | Self::EndToEndP99Ms
            | Self::ServerMemoryMib
            | Self::ReadySeconds
            | Self::ProgramMegabytes => true,
        }
    }

    /// Compares a value with its target.
    pub(crate) fn judge(self, value: f64, target: Target) -> Reached {
        let reaches = |wanted: f64| if self.is_better_high() { value >= wanted } else { value <= wanted };
        if reaches(target.goal) {
            Reached::Goal
        } else if reaches(target.first) {
            Reached::First
        } else {
            Reached::Neither
        }
    }

    fn is_better_high(self) -> bool {
        match self {
            Self::EventsPerSecond | Self::DeliveriesPerSecond => true,
            Self::ServerCpuSecondsPer1000
            | Self::AckP50Ms
            | Self::AckP95Ms
            | Self::AckP99Ms
            | Self::EndToEndP50Ms
            | Self::EndToEndP99Ms
            | Self::ServerMemoryMib
            | Self::ReadySeconds
            | Self::ProgramMegabytes
            | Self::AckP99Ratio
            | Self::EndToEndP99Ratio
            | Self::ClosedEndToEndP99Ratio
            | Self::RestartReadySeconds
            | Self::RestartDeliverySeconds => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_should_be_high_and_a_time_low() {
        let check = |figure: Figure, value, first, goal, expected| {
            assert_eq!(figure.judge(value, Target { first, goal }), expected, "{figure:?} {value}");
        };
        check(Figure::DeliveriesPerSecond, 20_000.0, 8_000.0, 20_000.0, Reached::Goal);
        check(Figure::DeliveriesPerSecond, 8_000.0, 8_000.0, 20_000.0, Reached::First);
        check(Figure::DeliveriesPerSecond, 7_999.0, 8_000.0, 20_000.0, Reached::Neither);
        check(Figure::AckP99Ms, 10.0, 25.0, 10.0, Reached::Goal);
        check(Figure::AckP99Ms, 24.0, 25.0, 10.0, Reached::First);
        check(Figure::AckP99Ms, 26.0, 25.0, 10.0, Reached::Neither);
    }
}
