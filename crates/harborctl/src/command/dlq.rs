//! `harborctl dlq`

use clap::{Args, Subcommand};
use harbor_wire::delivery::{Cause, DeadLetter, DeadLetterState, ListDeadLetters};

use crate::args::filter::TimeRange;
use crate::args::list::ListArgs;
use crate::args::word;
use crate::clock;
use crate::command::delivery::Replay;
use crate::command::show_list;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::attempts;
use crate::output::table::{Cell, Column, Tone};

const EXAMPLES: &str = "\
Examples:
  harborctl dlq list --cause attempts_exhausted --since 1d
  harborctl dlq replay dlv_… --wait 1m
  harborctl dlq list --endpoint ep_… --all --output json |
      jq -r '.data[].id' | xargs -n1 harborctl dlq replay
  harborctl dlq discard dlv_…";

/// Commands on dead letters.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum DlqCommand {
    /// List dead letters, the open ones unless another state is named
    List(ListDlq),
    /// Deliver again: makes a new delivery, and the dead letter is `replayed`
    Replay(Replay),
    /// Put a dead letter aside
    Discard {
        /// Dead delivery
        id: String,
    },
}

/// Arguments of `dlq list`.
#[derive(Args)]
pub(crate) struct ListDlq {
    /// To this endpoint
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    /// Of events of this type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Dead for this cause
    #[arg(long, value_parser = word::parser::<Cause>(word::CAUSES))]
    cause: Option<Cause>,
    /// In this state [default: open]
    #[arg(long, value_parser = word::parser::<DeadLetterState>(word::DEAD_LETTER_STATES))]
    state: Option<DeadLetterState>,
    #[command(flatten)]
    time: TimeRange,
    #[command(flatten)]
    page: ListArgs,
}

const COLUMNS: &[Column<DeadLetter>] = &[
    Column::new("ID", |letter, _| Cell::new(&letter.delivery.id)),
    Column::new("CAUSE", |letter, _| Cell::maybe(letter.delivery.cause.as_ref().map(word::print))),
    Column::flexible("EVENT TYPE", |letter, _| Cell::new(&letter.delivery.event_type)),
    Column::new("DEAD", |letter, view| Cell::time(&letter.dead_at, view)),
    Column::roomy("STATE", |letter, _| state(letter.state)),
    Column::roomy("TRIES", |letter, _| Cell::new(letter.delivery.attempt_count)),
    Column::roomy("ENDPOINT", |letter, _| Cell::new(&letter.delivery.endpoint_id)),
];

impl DlqCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::List(args) => args.run(cx).await,
            Self::Replay(args) => args.run(cx).await,
            Self::Discard { id } => {
                let letter = cx.tenant()?.discard_dead_letter(&id).await?;
                cx.output.show(&letter, |view| {
                    let mut rows = attempts::delivery_rows(&letter.delivery, view);
                    rows.push(("dead letter", state(letter.state)));
                    view.details(rows)
                })
            }
        }
    }
}

impl ListDlq {
    /// Lists.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        let now = clock::now();
        let query = ListDeadLetters {
            endpoint_id: self.endpoint,
            event_type: self.event_type,
            cause: self.cause,
            state: self.state,
            since: self.time.since(now),
            until: self.time.until(now),
            limit: self.page.limit(),
            cursor: self.page.cursor(),
        };
        let letters = self.page.fetch(cx.tenant()?.dead_letters(&query)).await?;
        show_list(&cx.output, &letters, COLUMNS, "dead letters")
    }
}

fn state(state: DeadLetterState) -> Cell {
    let tone = match state {
        DeadLetterState::Open => Tone::Bad,
        DeadLetterState::Replayed => Tone::Good,
        DeadLetterState::Discarded => Tone::Plain,
    };
    Cell::toned(word::print(&state), tone)
}
