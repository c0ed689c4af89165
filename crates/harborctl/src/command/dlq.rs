//! `harborctl dlq`

use clap::{Args, Subcommand};
use harbor_wire::delivery::{
    Cause, DeadLetter, DeadLetterGroup, DeadLetterState, DeadLetterSummary, ListDeadLetters,
};

use crate::args::filter::TimeRange;
use crate::args::list::ListArgs;
use crate::args::moment::Moment;
use crate::args::word;
use crate::clock;
use crate::command::replay::{HowArgs, start_range};
use crate::command::show_list;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::{Cell, Column, Tone};
use crate::output::{Output, attempts};

const EXAMPLES: &str = "\
Examples:
  harborctl dlq summary
  harborctl dlq list --cause attempts_exhausted --since 1d
  harborctl dlq replay dlv_… --wait 1m
  harborctl dlq replay --from 2h --endpoint ep_… --rate 50 --wait
  harborctl dlq discard dlv_…";

/// Commands on dead letters.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum DlqCommand {
    /// List dead letters, the open ones unless another state is named
    List(ListDlq),
    /// Count open dead letters by endpoint and cause
    Summary,
    /// Deliver a dead letter again, or those of a stretch of time; they are `replayed` then
    Replay(ReplayDlq),
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

/// Arguments of `dlq replay`.
#[derive(Args)]
pub(crate) struct ReplayDlq {
    /// Dead delivery to repeat
    #[arg(required_unless_present = "from", conflicts_with_all = ["from", "to", "endpoint", "rate", "dry_run"])]
    id: Option<String>,
    /// Instead of one, all open ones that died from this time on: RFC 3339, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// That died before this time [default: now]
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<Moment>,
    /// To this endpoint
    #[arg(long, value_name = "ID", requires = "from")]
    endpoint: Option<String>,
    #[command(flatten)]
    how: HowArgs,
}

const SUMMARY_COLUMNS: &[Column<DeadLetterGroup>] = &[
    Column::new("ENDPOINT", |group, _| Cell::new(&group.endpoint_id)),
    Column::new("CAUSE", |group, _| Cell::new(word::print(&group.cause))),
    Column::new("COUNT", |group, _| Cell::new(group.count)),
    Column::new("FIRST DEAD", |group, view| Cell::time(&group.first_dead_at, view)),
    Column::new("LAST DEAD", |group, view| Cell::time(&group.last_dead_at, view)),
];

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
            Self::Summary => show_summary(&cx.output, &cx.tenant()?.dead_letter_summary().await?),
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

impl ReplayDlq {
    /// Replays one, or starts a job that replays many.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match (self.id, self.from) {
            (Some(id), _) => self.how.of_one(id).run(cx).await,
            (None, Some(from)) => start_range(cx, from, self.to, self.endpoint, self.how, clock::now()).await,
            (None, None) => unreachable!("clap asks for one of them"),
        }
    }
}

fn show_summary(output: &Output, summary: &DeadLetterSummary) -> Result<(), Failure> {
    output.show(summary, |view| view.table(&summary.data, SUMMARY_COLUMNS))?;
    if summary.data.is_empty() {
        output.hint("no dead letters");
    }
    if !summary.complete {
        output.note("there are more than were counted");
    }
    Ok(())
}

fn state(state: DeadLetterState) -> Cell {
    let tone = match state {
        DeadLetterState::Open => Tone::Bad,
        DeadLetterState::Replayed => Tone::Good,
        DeadLetterState::Discarded => Tone::Plain,
    };
    Cell::toned(word::print(&state), tone)
}
