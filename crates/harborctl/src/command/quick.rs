//! `harborctl quick`

use std::time::Duration;

use clap::{Args, Subcommand};
use harbor_wire::delivery::DeliveryWithAttempts;
use harbor_wire::endpoint::{CreateEndpoint, Endpoint};
use harbor_wire::event::{ListEventDeliveries, PublishEvent, PublishedEvent, UnmatchedReason};
use harbor_wire::list::ListPage;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::duration;
use crate::clock;
use crate::command::event::parse_payload;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::attempts;
use crate::output::table::Cell;
use crate::wait::until_final;

/// Where `harborhook receiver` listens.
const RECEIVER_URL: &str = "http://127.0.0.1:8081/";
/// The type of the event that `quick test` publishes.
const EVENT_TYPE: &str = "quick.test";
/// The most endpoints among which `quick setup` looks for its URL.
const ENDPOINTS_MAX: usize = 500;
/// The most deliveries that `quick test` waits for.
const DELIVERIES_MAX: usize = 500;

const EXAMPLES: &str = "\
Examples, beside a running `harborhook serve --dev`:
  harborctl quick setup                  for `harborhook receiver` on this machine
  harborctl quick setup --url https://example.com/ --event-type 'invoice.*'
  harborctl quick test
  harborctl quick test --event-type invoice.paid --data '{\"invoice\": 42}'";

/// The first event, in two commands.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum QuickCommand {
    /// Make an endpoint and subscribe it
    Setup(Setup),
    /// Publish an event and see it arrive; exit with 1 if it does not
    Test(Test),
}

/// Arguments of `quick setup`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Setup {
    /// Where requests go; unless set, to `harborhook receiver` on this machine
    #[arg(long, default_value = RECEIVER_URL)]
    url: String,
    /// Event type, a prefix like 'invoice.*', or '*'; repeatable
    #[arg(long, value_name = "TYPE", default_value = "*")]
    event_type: Vec<String>,
    /// Make it although there is an endpoint with this URL
    #[arg(long)]
    another: bool,
}

/// Arguments of `quick test`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Test {
    /// Type of the event
    #[arg(long, value_name = "TYPE", default_value = EVENT_TYPE)]
    event_type: String,
    /// Payload as JSON [default: a greeting]
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    data: Option<String>,
    /// How long to wait, retries included
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration::parse_positive)]
    wait: Duration,
}

impl QuickCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::Setup(args) => args.run(cx).await,
            Self::Test(args) => args.run(cx).await,
        }
    }
}

impl Setup {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let client = cx.tenant()?;
        if !self.another {
            let endpoints = client.endpoints(&ListPage { limit: Some(500), cursor: None });
            let endpoints = { endpoints }.take(ENDPOINTS_MAX).await?;
            if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.url == self.url) {
                return Err(Failure::Unfulfilled(exists(endpoint)));
            }
        }
        let request = CreateEndpoint {
            url: self.url,
            name: Some("quick setup".to_owned()),
            event_types: Some(self.event_type.clone()),
            ..CreateEndpoint::default()
        };
        let endpoint = client.create_endpoint(&request).await?;
        cx.output.show(&endpoint, |view| {
            let details = view.details(vec![
                ("endpoint", Cell::new(&endpoint.id)),
                ("url", Cell::new(&endpoint.url)),
                ("event types", Cell::new(self.event_type.join(", "))),
                ("secret", Cell::maybe(endpoint.secret.as_ref())),
            ]);
            format!("{details}\n\n{}", next_steps(&endpoint))
        })
    }
}

fn exists(endpoint: &Endpoint) -> String {
    let id = &endpoint.id;
    format!(
        "endpoint {id} has this URL already\n  \
         try it with: harborctl quick test\n  \
         a new secret for it: harborctl endpoint rotate-secret {id}\n  \
         a second one: harborctl quick setup --another"
    )
}

fn next_steps(endpoint: &Endpoint) -> String {
    let secret = endpoint.secret.as_deref().unwrap_or("<secret>");
    let receive = if endpoint.url == RECEIVER_URL {
        format!("  harborhook receiver --secret '{secret}'     (in another terminal)\n")
    } else {
        "  give the secret to the receiver; it is shown this once\n".to_owned()
    };
    format!("Next:\n{receive}  harborctl quick test")
}

/// What `quick test` saw.
#[derive(Serialize)]
struct Tested {
    event: PublishedEvent,
    deliveries: Vec<DeliveryWithAttempts>,
}

impl Test {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let payload = match self.data {
            Some(text) => parse_payload(text)
                .map_err(|why| Failure::Usage(format!("the payload is not JSON: {why}")))?,
            None => greeting(),
        };
        let client = cx.tenant()?;
        let request = PublishEvent {
            event_type: self.event_type.into(),
            payload: &payload,
            idempotency_key: None,
            occurred_at: None,
            deliver_at: None,
            ordering_key: None,
            metadata: None,
        };
        let event = client.publish(&request).await?;

        let query = ListEventDeliveries { limit: Some(500), ..ListEventDeliveries::default() };
        let look = async || client.event_deliveries(&event.event_id, &query).take(DELIVERIES_MAX).await;
        let waited = until_final(&cx.output, self.wait, look).await?;
        let verdict = waited.verdict();
        let tested = Tested { event, deliveries: waited.deliveries };
        cx.output.show(&tested, |view| {
            let event = view.details(vec![
                ("published", Cell::new(&tested.event.event_id)),
                ("fan-out", Cell::new(tested.event.fanout_count)),
            ]);
            let separator = if tested.deliveries.is_empty() { "" } else { "\n\n" };
            format!("{event}{separator}{}", attempts::render_all(&tested.deliveries, view))
        })?;
        if tested.event.fanout_count == 0 {
            let reason = client.event(&tested.event.event_id).await?.fanout.reason;
            return Err(Failure::Unfulfilled(why_nobody(reason).to_owned()));
        }
        verdict
    }
}

fn why_nobody(reason: Option<UnmatchedReason>) -> &'static str {
    match reason {
        Some(UnmatchedReason::EndpointsDisabled) => {
            "every endpoint that wants the event is disabled\n  see harborctl endpoint list"
        }
        Some(UnmatchedReason::NoSubscription) | None => {
            "nobody subscribed to the event\n  make an endpoint with: harborctl quick setup"
        }
    }
}

fn greeting() -> Box<RawValue> {
    let text =
        format!(r#"{{"message":"Hello from harborctl","sent_at":"{}"}}"#, clock::rfc3339(clock::now()));
    RawValue::from_string(text).expect("a greeting is JSON")
}
