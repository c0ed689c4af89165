//! `harborctl subscription`

use clap::{Args, Subcommand};
use harbor_wire::subscription::{CreateSubscription, ListSubscriptions, Subscription, UpdateSubscription};

use crate::args::list::ListArgs;
use crate::command::{show_deleted, show_list};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Cell, Column};

const EXAMPLES: &str = "\
Examples:
  harborctl subscription create --endpoint ep_… --event-type invoice.paid
  harborctl subscription create --endpoint ep_… --event-type 'appointment.*'
  harborctl subscription list --endpoint ep_…";

/// Commands on subscriptions.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum SubscriptionCommand {
    /// Send events of a type to an endpoint
    #[command(after_help = EXAMPLES)]
    Create {
        /// Event type, a prefix like 'appointment.*', or '*'
        #[arg(long, value_name = "TYPE")]
        event_type: String,
        /// Where matching events go
        #[arg(long, value_name = "ID")]
        endpoint: String,
    },
    /// List subscriptions
    List {
        /// To this endpoint
        #[arg(long, value_name = "ID")]
        endpoint: Option<String>,
        /// With exactly this type or pattern
        #[arg(long, value_name = "TYPE")]
        event_type: Option<String>,
        #[command(flatten)]
        page: ListArgs,
    },
    /// Show a subscription
    Get {
        /// Subscription to show
        id: String,
    },
    /// Change a subscription
    Update(Update),
    /// Remove a subscription; deliveries that exist already stay
    Delete {
        /// Subscription to remove
        id: String,
    },
}

/// Arguments of `subscription update`.
#[derive(Args)]
pub(crate) struct Update {
    /// Subscription to change
    id: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// New event type, a prefix like 'appointment.*', or '*'
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// New endpoint
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
}

const COLUMNS: &[Column<Subscription>] = &[
    Column::new("ID", |subscription, _| Cell::new(&subscription.id)),
    Column::flexible("EVENT TYPE", |subscription, _| Cell::new(&subscription.event_type)),
    Column::new("ENDPOINT", |subscription, _| Cell::new(&subscription.endpoint_id)),
    Column::roomy("CREATED", |subscription, view| Cell::time(&subscription.created_at, view)),
];

impl SubscriptionCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        let client = cx.tenant()?;
        match self {
            Self::Create { event_type, endpoint } => {
                let request = CreateSubscription { event_type, endpoint_id: endpoint };
                show(&cx.output, &client.create_subscription(&request).await?)
            }
            Self::List { endpoint, event_type, page } => {
                let query = ListSubscriptions {
                    endpoint_id: endpoint,
                    event_type,
                    limit: page.limit(),
                    cursor: page.cursor(),
                };
                let subscriptions = page.fetch(client.subscriptions(&query)).await?;
                show_list(&cx.output, &subscriptions, COLUMNS, "subscriptions")
            }
            Self::Get { id } => show(&cx.output, &client.subscription(&id).await?),
            Self::Update(Update { id, change }) => {
                let change = UpdateSubscription {
                    event_type: change.event_type.into(),
                    endpoint_id: change.endpoint.into(),
                };
                show(&cx.output, &client.update_subscription(&id, &change).await?)
            }
            Self::Delete { id } => {
                client.delete_subscription(&id).await?;
                show_deleted(&cx.output, &id)
            }
        }
    }
}

fn show(output: &Output, subscription: &Subscription) -> Result<(), Failure> {
    output.show(subscription, |view| {
        view.details(vec![
            ("id", Cell::new(&subscription.id)),
            ("event type", Cell::new(&subscription.event_type)),
            ("endpoint", Cell::new(&subscription.endpoint_id)),
            ("created", Cell::time(&subscription.created_at, view)),
            ("updated", Cell::time(&subscription.updated_at, view)),
        ])
    })
}
