//! `harborctl traffic`

mod bad;
mod plan;
mod summary;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use harbor_wire::client::{Client, TenantClient};
use harbor_wire::event::PublishEvent;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::args::duration;
use crate::clock;
use crate::command::traffic::bad::BadRequest;
use crate::command::traffic::plan::Plan;
use crate::command::traffic::summary::{Answer, Summary, Tally};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::progress;
use crate::settings::Secret;

/// The most requests of one run: each leaves its latency in memory.
const REQUESTS_MAX: u64 = 10_000_000;

const EXAMPLES: &str = "\
Examples:
  harborctl traffic generate --rate 200 --duration 1m
  harborctl traffic generate --pattern burst --rate 100 --payload-bytes 4096
  harborctl traffic generate --pattern bad --duration 10s --output json

Requests keep their times, however slow the answers are, and latency counts from
the time at which a request was due: a slow server looks as slow as it is.";

/// Load for a server.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TrafficCommand {
    /// Publish events at a rate; Ctrl-C ends it early and shows the summary
    Generate(Generate),
}

/// Arguments of `traffic generate`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Generate {
    /// Requests per second, on average
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long
    #[arg(long, default_value = "30s", value_parser = duration::parse_positive)]
    duration: Duration,
    /// What to send, and when
    #[arg(long, value_enum, default_value_t = Pattern::Good)]
    pattern: Pattern,
    /// Type of the events
    #[arg(long, value_name = "TYPE", default_value = "traffic.test")]
    event_type: String,
    /// Size of each payload
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=16 * 1024 * 1024))]
    payload_bytes: u32,
    /// The most requests under way at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
}

/// What is sent, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pattern {
    /// Valid events, evenly
    Good,
    /// A mix of what a server with the usual limits must refuse, each in its way
    Bad,
    /// Valid events: silence, then five times the rate
    Burst,
}

impl TrafficCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::Generate(args) => args.run(cx).await,
        }
    }
}

impl Generate {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let plan = Plan::new(self.pattern, self.rate, self.duration);
        if plan.requests() > REQUESTS_MAX {
            let text = format!("these are {} requests, the limit is {REQUESTS_MAX}", plan.requests());
            return Err(Failure::Usage(text));
        }
        let sender = Sender::new(cx, &self)?;
        let summary = Run { plan: &plan, concurrency: self.concurrency as usize, sender }.run(cx).await;
        cx.output.show(&summary, |view| summary.render(view))?;
        summary.verdict()
    }
}

/// One run of a plan.
struct Run<'a> {
    plan: &'a Plan,
    concurrency: usize,
    sender: Sender,
}

impl Run<'_> {
    /// Sends what is due, when it is due. Ends with the plan, or early when interrupted.
    async fn run(self, cx: &Context) -> Summary {
        let bar = progress::bar(&cx.output, self.plan.requests());
        let began = Instant::now();
        let end = began + self.plan.duration();
        let mut tally = Tally::default();
        let mut under_way = JoinSet::new();
        let mut next = 0;
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let mut stopped = false;
        loop {
            let due = began + self.plan.due(next);
            // What found no free place before the end of the run is not sent any more.
            let over = stopped || next >= self.plan.requests() || Instant::now() >= end;
            if over && under_way.is_empty() {
                break;
            }
            let may_send = !over && under_way.len() < self.concurrency;
            tokio::select! {
                biased;
                _ = &mut interrupted, if !stopped => stopped = true,
                () = sleep_until(due), if may_send => {
                    under_way.spawn(self.sender.clone().send(next, due));
                    next += 1;
                }
                Some(answer) = under_way.join_next() => {
                    tally.add(answer.expect("sending does not panic and is not aborted"));
                    bar.inc(1);
                }
                () = sleep_until(end), if !over => {}
            }
        }
        bar.finish_and_clear();
        let unsent = if stopped { 0 } else { self.plan.requests() - next };
        tally.summary(self.plan, began.elapsed(), unsent)
    }
}

/// Sends one request after another.
#[derive(Clone)]
struct Sender {
    pattern: Pattern,
    client: TenantClient,
    /// A client without a key that the server knows.
    stranger: TenantClient,
    event_type: String,
    payload_bytes: usize,
}

impl Sender {
    fn new(cx: &Context, args: &Generate) -> Result<Self, Failure> {
        let stranger: Client = cx.client(Some(&Secret::from("hhk_nobody-has-this-key".to_owned())))?;
        Ok(Self {
            pattern: args.pattern,
            client: cx.tenant()?,
            stranger: cx.tenant_of(&stranger),
            event_type: args.event_type.clone(),
            payload_bytes: args.payload_bytes as usize,
        })
    }

    async fn send(self, number: u64, due: Instant) -> Answer {
        match self.pattern {
            Pattern::Good | Pattern::Burst => {
                let payload = payload(number, self.payload_bytes);
                let event = PublishEvent {
                    event_type: self.event_type.as_str().into(),
                    payload: &payload,
                    idempotency_key: None,
                    occurred_at: None,
                    deliver_at: None,
                    ordering_key: None,
                    metadata: None,
                };
                let result = self.client.publish(&event).await;
                Answer::of_good(&result, due.elapsed())
            }
            Pattern::Bad => {
                let bad = BadRequest::nth(number);
                let client = if bad.has_key() { &self.client } else { &self.stranger };
                let result = client.publish_body(bad.body(&self.event_type)).await;
                Answer::of_bad(&result, bad, due.elapsed())
            }
        }
    }
}

/// A payload of exactly this many bytes.
fn payload(number: u64, bytes: usize) -> Box<RawValue> {
    let time = clock::rfc3339(clock::now());
    let head = format!(r#"{{"n":{number},"at":"{time}","fill":""#);
    let fill = bytes.saturating_sub(head.len() + 2);
    let text = format!("{head}{}\"}}", "x".repeat(fill));
    RawValue::from_string(text).expect("a payload is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_the_size_that_was_asked_for() {
        for bytes in [80, 256, 4096] {
            assert_eq!(payload(7, bytes).get().len(), bytes);
        }
    }
}
