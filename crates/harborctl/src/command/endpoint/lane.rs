//! `harborctl endpoint lane`

use clap::{Args, Subcommand};
use harbor_wire::client::TenantClient;
use harbor_wire::lane::{OrderedLane, ReleasedLane};

use crate::args::list::ListArgs;
use crate::command::show_list;
use crate::failure::Failure;
use crate::output::table::{Cell, Column, Tone};
use crate::output::{Output, attempts};

const EXAMPLES: &str = "\
Examples:
  harborctl endpoint lane list ep_…
  harborctl endpoint lane retry ep_… appointment-42
  harborctl endpoint lane skip ep_…                 with `ordering: endpoint`";

/// Commands on ordered lanes.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum LaneCommand {
    /// List the lanes that have somebody in them or are held
    List {
        /// Endpoint
        #[arg(value_name = "ENDPOINT")]
        endpoint_id: String,
        #[command(flatten)]
        page: ListArgs,
    },
    /// Pass over the head of a lane: one that is open is cancelled, and the next one goes
    Skip(Lane),
    /// Try the head of a lane now; one that is dead is replayed in its place
    Retry(Lane),
}

/// Names a lane.
#[derive(Args)]
pub(crate) struct Lane {
    /// Endpoint
    #[arg(value_name = "ENDPOINT")]
    endpoint_id: String,
    /// Ordering key of the lane; none for the one lane of `ordering: endpoint`
    #[arg(default_value = "", hide_default_value = true)]
    key: String,
}

const COLUMNS: &[Column<OrderedLane>] = &[
    Column::flexible("KEY", |lane, _| Cell::new(if lane.key.is_empty() { "(all)" } else { &lane.key })),
    Column::new("HEAD", |lane, _| Cell::maybe(lane.head.as_ref().map(|head| &head.delivery_id))),
    Column::new("STATUS", |lane, _| {
        lane.head.as_ref().map_or_else(|| Cell::new("-"), |head| attempts::status(head.status))
    }),
    Column::new("TRIES", |lane, _| Cell::maybe(lane.head.as_ref().map(|head| head.attempt_count))),
    Column::new("WAITING", |lane, _| Cell::new(lane.waiting_count)),
    Column::new("HELD", |lane, view| match &lane.held_at {
        Some(time) => Cell::time(time, view).with_tone(Tone::Bad),
        None => Cell::new("-"),
    }),
    Column::roomy("NEXT", |lane, view| {
        let next = lane.head.as_ref().and_then(|head| head.next_attempt_at.as_ref());
        next.map_or_else(|| Cell::new("-"), |time| Cell::time(time, view))
    }),
];

impl LaneCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, output: &Output, client: &TenantClient) -> Result<(), Failure> {
        match self {
            Self::List { endpoint_id, page } => {
                let lanes = page.fetch(client.lanes(&endpoint_id, &page.ask())).await?;
                show_list(output, &lanes, COLUMNS, "lanes")
            }
            Self::Skip(Lane { endpoint_id, key }) => {
                show(output, "skipped", &client.skip_lane_head(&endpoint_id, &key).await?)
            }
            Self::Retry(Lane { endpoint_id, key }) => {
                show(output, "tried now", &client.retry_lane_head(&endpoint_id, &key).await?)
            }
        }
    }
}

fn show(output: &Output, what: &str, lane: &ReleasedLane) -> Result<(), Failure> {
    output.show(lane, |view| {
        let key = Some(&lane.key).filter(|key| !key.is_empty());
        view.details(vec![("lane", Cell::maybe(key)), (what, Cell::maybe(lane.delivery_id.as_ref()))])
    })
}
