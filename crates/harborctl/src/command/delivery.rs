//! `harborctl delivery`

use std::time::Duration;

use clap::{Args, Subcommand};
use harbor_wire::delivery::{Delivery, DeliveryStatus, ListDeliveries, ReplayDelivery};
use harbor_wire::event::ListEventDeliveries;
use harbor_wire::list::List;

use crate::args::filter::TimeRange;
use crate::args::list::ListArgs;
use crate::args::{duration, word};
use crate::clock;
use crate::command::dlq::ListDlq;
use crate::command::show_list;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::attempts;
use crate::output::table::{Cell, Column};
use crate::wait::{WaitArgs, until_final};

const EXAMPLES: &str = "\
Examples:
  harborctl delivery list --status failed --since 1h
  harborctl delivery get dlv_…
  harborctl delivery status evt_… --wait 1m
  harborctl delivery replay dlv_… --reason 'receiver was down'";

/// Commands on deliveries.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum DeliveryCommand {
    /// List deliveries
    List(ListDelivery),
    /// Show a delivery with its attempts
    Get {
        /// Delivery to show
        id: String,
    },
    /// Show what became of an event: its deliveries with their attempts
    Status(Status),
    /// Deliver again: makes a new delivery of the same event
    Replay(Replay),
    /// List dead letters, the same as `dlq list`
    Dlq(ListDlq),
}

/// Arguments of `delivery list`.
#[derive(Args)]
pub(crate) struct ListDelivery {
    /// To this endpoint
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    /// Of this event
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Of events of this type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// That stand so
    #[arg(long, value_parser = word::parser::<DeliveryStatus>(word::DELIVERY_STATUSES))]
    status: Option<DeliveryStatus>,
    #[command(flatten)]
    time: TimeRange,
    #[command(flatten)]
    page: ListArgs,
}

/// Arguments of `delivery status`.
#[derive(Args)]
pub(crate) struct Status {
    /// Event to look up
    event_id: String,
    /// To this endpoint
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    #[command(flatten)]
    time: TimeRange,
    #[command(flatten)]
    page: ListArgs,
    /// Wait until all of them are final, this long; exit with 1 unless all are `delivered`
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive, conflicts_with_all = ["limit", "cursor"])]
    wait: Option<Duration>,
}

/// Arguments of `delivery replay`.
#[derive(Args)]
pub(crate) struct Replay {
    /// Delivery to repeat
    id: String,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Give it a webhook-id of its own, so that a receiver that has seen the event processes it again
    #[arg(long)]
    new_webhook_id: bool,
    /// Makes a repeated request answer with the first replay
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

const COLUMNS: &[Column<Delivery>] = &[
    Column::new("ID", |delivery, _| Cell::new(&delivery.id)),
    Column::new("STATUS", |delivery, _| attempts::status(delivery.status)),
    Column::new("TRIES", |delivery, _| Cell::new(delivery.attempt_count)),
    Column::flexible("EVENT TYPE", |delivery, _| Cell::new(&delivery.event_type)),
    Column::new("CREATED", |delivery, view| Cell::time(&delivery.created_at, view)),
    Column::roomy("NEXT", |delivery, view| {
        delivery.next_attempt_at.as_ref().map_or_else(|| Cell::new("-"), |time| Cell::time(time, view))
    }),
    Column::roomy("CAUSE", |delivery, _| Cell::maybe(delivery.cause.as_ref().map(word::print))),
    Column::roomy("ENDPOINT", |delivery, _| Cell::new(&delivery.endpoint_id)),
    Column::roomy("EVENT", |delivery, _| Cell::new(&delivery.event_id)),
];

impl DeliveryCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::List(args) => args.run(cx).await,
            Self::Get { id } => {
                let delivery = cx.tenant()?.delivery(&id).await?;
                cx.output.show(&delivery, |view| attempts::render(&delivery, view))
            }
            Self::Status(args) => args.run(cx).await,
            Self::Replay(args) => args.run(cx).await,
            Self::Dlq(args) => args.run(cx).await,
        }
    }
}

impl ListDelivery {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let now = clock::now();
        let query = ListDeliveries {
            endpoint_id: self.endpoint,
            event_id: self.event,
            event_type: self.event_type,
            status: self.status,
            since: self.time.since(now),
            until: self.time.until(now),
            limit: self.page.limit(),
            cursor: self.page.cursor(),
        };
        let deliveries = self.page.fetch(cx.tenant()?.deliveries(&query)).await?;
        show_list(&cx.output, &deliveries, COLUMNS, "deliveries")
    }
}

impl Status {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let now = clock::now();
        let page = if self.wait.is_some() { ListArgs::all() } else { self.page };
        let query = ListEventDeliveries {
            endpoint_id: self.endpoint,
            since: self.time.since(now),
            until: self.time.until(now),
            limit: page.limit(),
            cursor: page.cursor(),
        };
        let client = cx.tenant()?;
        let fetch = async || page.fetch(client.event_deliveries(&self.event_id, &query)).await;
        let (list, verdict) = match self.wait {
            None => (fetch().await?, Ok(())),
            Some(patience) => {
                let waited = until_final(&cx.output, patience, async || Ok(fetch().await?.data)).await?;
                let verdict = waited.verdict();
                (List { data: waited.deliveries, next_cursor: None }, verdict)
            }
        };
        cx.output.show(&list, |view| attempts::render_all(&list.data, view))?;
        if list.data.is_empty() {
            cx.output.hint(&format!("no deliveries; why: harborctl event get {}", self.event_id));
        }
        if let Some(cursor) = &list.next_cursor {
            cx.output.hint(&format!("there is more: --all, or --cursor {cursor}"));
        }
        verdict
    }
}

impl Replay {
    /// Makes the new delivery, and waits for it if asked to.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        let client = cx.tenant()?;
        let request =
            ReplayDelivery { reason: self.reason, new_webhook_id: self.new_webhook_id.then_some(true) };
        let replay = client.replay_delivery(&self.id, &request, self.idempotency_key.as_deref()).await?;
        let Some(patience) = self.wait.wait else {
            cx.output.show(&replay, |view| view.details(attempts::delivery_rows(&replay, view)))?;
            cx.output.hint(&format!("see what becomes of it: harborctl delivery get {}", replay.id));
            return Ok(());
        };
        let look = async || Ok(vec![client.delivery(&replay.id).await?]);
        let waited = until_final(&cx.output, patience, look).await?;
        cx.output.show(&waited.deliveries[0], |view| attempts::render(&waited.deliveries[0], view))?;
        waited.verdict()
    }
}
