//! `harborctl delivery`

use std::time::Duration;

use clap::{Args, Subcommand};
use harbor_wire::client::TenantClient;
use harbor_wire::delivery::{
    CancelDeliveries, Delivery, DeliveryFilter, DeliveryStatus, ListDeliveries, ReplayDelivery,
};
use harbor_wire::event::ListEventDeliveries;
use harbor_wire::list::List;

use crate::args::filter::{DeliveryArgs, TimeRange};
use crate::args::list::ListArgs;
use crate::args::{duration, word};
use crate::clock;
use crate::command::dlq::{ListDlq, ReplayDlq};
use crate::command::{job, show_list};
use crate::confirm::YesArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::{Cell, Column};
use crate::output::{Output, attempts};
use crate::wait::job::JobWaitArgs;
use crate::wait::{WaitArgs, until_final};

const EXAMPLES: &str = "\
Examples:
  harborctl delivery list --status failed --since 1h
  harborctl delivery get dlv_…
  harborctl delivery status evt_… --wait 1m
  harborctl delivery retry dlv_… --wait 30s
  harborctl delivery cancel-all --endpoint ep_… --status failed --wait
  harborctl delivery replay dlv_… --reason 'receiver was down'
  harborctl delivery replay-dlq --from 2h";

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
    /// Try an open delivery now instead of at its next time
    Retry {
        /// Delivery to try
        id: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Cancel an open delivery at once
    Cancel {
        /// Delivery to cancel
        id: String,
    },
    /// Cancel all open deliveries that match, or all there are without a filter, as a job
    CancelAll(CancelAll),
    /// List dead letters, the same as `dlq list`
    Dlq(ListDlq),
    /// Deliver a dead letter again, or those of a stretch of time: the same as `dlq replay`
    ReplayDlq(ReplayDlq),
}

/// Arguments of `delivery list`.
#[derive(Args)]
pub(crate) struct ListDelivery {
    #[command(flatten)]
    which: DeliveryArgs,
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

/// Arguments of `delivery cancel-all`.
#[derive(Args)]
pub(crate) struct CancelAll {
    #[command(flatten)]
    which: DeliveryArgs,
    /// That stand so
    #[arg(long, value_parser = word::parser::<DeliveryStatus>(word::OPEN_DELIVERY_STATUSES))]
    status: Option<DeliveryStatus>,
    #[command(flatten)]
    time: TimeRange,
    #[command(flatten)]
    yes: YesArgs,
    #[command(flatten)]
    wait: JobWaitArgs,
}

/// Arguments of `delivery replay`.
#[derive(Args)]
pub(crate) struct Replay {
    /// Delivery to repeat
    pub(super) id: String,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Give it a webhook-id of its own, so that a receiver that has seen the event processes it again
    #[arg(long)]
    pub(super) new_webhook_id: bool,
    /// Makes a repeated request answer with the first replay
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
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
            Self::Retry { id, wait } => {
                let client = cx.tenant()?;
                let delivery = client.retry_delivery(&id).await?;
                show_or_wait(&cx.output, &client, &delivery, wait).await
            }
            Self::Cancel { id } => {
                let delivery = cx.tenant()?.cancel_delivery(&id).await?;
                cx.output.show(&delivery, |view| view.details(attempts::delivery_rows(&delivery, view)))
            }
            Self::CancelAll(args) => args.run(cx).await,
            Self::Dlq(args) => args.run(cx).await,
            Self::ReplayDlq(args) => args.run(cx).await,
        }
    }
}

impl ListDelivery {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let now = clock::now();
        let query = ListDeliveries {
            endpoint_id: self.which.endpoint,
            event_id: self.which.event,
            event_type: self.which.event_type,
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

impl CancelAll {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let now = clock::now();
        let filter = self.which.filter(self.status, self.time, now);
        // A filter says what is meant; without one it may be a slip.
        if filter == DeliveryFilter::default() {
            self.yes.confirm("Cancel every open delivery of the tenant?")?;
        }
        let client = cx.tenant()?;
        let job = client.cancel_deliveries(&CancelDeliveries { filter }).await?;
        job::follow(&cx.output, &client, job, self.wait.patience()).await
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
        show_or_wait(&cx.output, &client, &replay, self.wait).await
    }
}

/// Shows an open delivery, at its end if it is to be waited for.
async fn show_or_wait(
    output: &Output,
    client: &TenantClient,
    delivery: &Delivery,
    wait: WaitArgs,
) -> Result<(), Failure> {
    let Some(patience) = wait.wait else {
        output.show(delivery, |view| view.details(attempts::delivery_rows(delivery, view)))?;
        output.hint(&format!("see what becomes of it: harborctl delivery get {}", delivery.id));
        return Ok(());
    };
    let look = async || Ok(vec![client.delivery(&delivery.id).await?]);
    let waited = until_final(output, patience, look).await?;
    output.show(&waited.deliveries[0], |view| attempts::render(&waited.deliveries[0], view))?;
    waited.verdict()
}
