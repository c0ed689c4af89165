//! `harborctl replay`

use clap::{Args, Subcommand};
use harbor_wire::delivery::{DeliveryFilter, DeliveryStatus};
use harbor_wire::job::{CreateReplay, DlqRange, JobStatus, Replay};
use jiff::Timestamp;

use crate::args::filter::{DeliveryArgs, TimeRange};
use crate::args::list::ListArgs;
use crate::args::moment::Moment;
use crate::args::{text, word};
use crate::clock;
use crate::command::{delivery, job, show_list};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::{Cell, Column, Tone};
use crate::output::{Output, View};
use crate::wait::job::{JobWaitArgs, LongWork, Patience, Progress, until_ended};

const EXAMPLES: &str = "\
Examples:
  harborctl replay start --from 2h --endpoint ep_… --dry-run --wait
  harborctl replay start --from 2026-01-31T12:00:00Z --rate 50
  harborctl replay start --status cancelled --endpoint ep_… --since 1d
  harborctl replay start --ids dlv_…,dlv_… --reason 'receiver was down'
  harborctl replay status rpl_… --watch
  harborctl replay cancel rpl_…

What was replayed before is not replayed again: the same range twice is safe.";

/// Replays of many deliveries, as jobs.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ReplayCommand {
    /// Deliver many again: named ones, dead letters of a stretch of time, or what matches a filter
    Start(Box<Start>),
    /// Show a replay and how far it has come
    Status {
        /// Replay to show
        id: String,
        /// Wait until it ends, showing how far it is; exit with 1 unless everything was delivered
        #[arg(long)]
        watch: bool,
    },
    /// List replays
    List {
        #[command(flatten)]
        page: ListArgs,
    },
    /// Stop a replay; what it did stays
    Cancel {
        /// Replay to stop
        id: String,
    },
}

/// Arguments of `replay start`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Start {
    /// These deliveries, separated by commas or white space, or - to read them from stdin
    #[arg(long, conflicts_with_all = ["from", "to", "endpoint", "event", "event_type", "status", "since", "until"])]
    ids: Option<String>,
    /// Open dead letters that died from this time on: RFC 3339, or 2h for two hours ago
    #[arg(long, value_name = "TIME", conflicts_with_all = ["event", "event_type", "status", "since", "until"])]
    from: Option<Moment>,
    /// Dead letters that died before this time [default: now]
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<Moment>,
    #[command(flatten)]
    which: DeliveryArgs,
    /// That ended so
    #[arg(long, value_parser = word::parser::<DeliveryStatus>(word::FINAL_DELIVERY_STATUSES))]
    status: Option<DeliveryStatus>,
    #[command(flatten)]
    time: TimeRange,
    #[command(flatten)]
    how: HowArgs,
}

/// How to replay many deliveries.
#[derive(Args, Default)]
pub(crate) struct HowArgs {
    /// The most replays made per second [default: as fast as it goes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Only count what would be replayed
    #[arg(long)]
    dry_run: bool,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Give each a webhook-id of its own, so that receivers that have seen the events process them again
    #[arg(long)]
    new_webhook_id: bool,
    /// Makes the same request again, with the same exact times, answer with the first replay
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    wait: JobWaitArgs,
}

const COLUMNS: &[Column<Replay>] = &[
    Column::new("ID", |replay, _| Cell::new(&replay.id)),
    Column::new("STATUS", |replay, _| job::status(replay.status)),
    Column::new("MATCHED", |replay, _| Cell::new(replay.counts.matched)),
    Column::new("MADE", |replay, _| Cell::new(replay.counts.queued)),
    Column::new("DELIVERED", |replay, _| Cell::new(replay.counts.succeeded)),
    Column::new("FAILED", |replay, _| Cell::new(replay.counts.failed)),
    Column::new("CREATED", |replay, view| Cell::time(&replay.created_at, view)),
    Column::roomy("WHICH", |replay, _| Cell::maybe(print_selection(replay))),
];

impl ReplayCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::Start(args) => args.run(cx).await,
            Self::Status { id, watch } => {
                let replay = cx.tenant()?.replay(&id).await?;
                if !watch {
                    return show(&cx.output, &replay);
                }
                follow(cx, replay, Patience(None)).await
            }
            Self::List { page } => {
                let replays = page.fetch(cx.tenant()?.replays(&page.ask())).await?;
                show_list(&cx.output, &replays, COLUMNS, "replays")
            }
            Self::Cancel { id } => show(&cx.output, &cx.tenant()?.cancel_replay(&id).await?),
        }
    }
}

impl Start {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let now = clock::now();
        if let Some(ids) = self.ids {
            let request = CreateReplay { delivery_ids: Some(read_ids(ids)?), ..CreateReplay::default() };
            return self.how.start(cx, request).await;
        }
        if let Some(from) = self.from {
            return start_range(cx, from, self.to, self.which.endpoint, self.how, now).await;
        }
        let filter = self.which.filter(self.status, self.time, now);
        if filter == DeliveryFilter::default() {
            let text =
                "say what to replay: --ids, --from, or a filter like --endpoint or --status (see --help)";
            return Err(Failure::Usage(text.to_owned()));
        }
        self.how.start(cx, CreateReplay { filter: Some(filter), ..CreateReplay::default() }).await
    }
}

/// Replays open dead letters of a stretch of time, up to `now` unless it ends before.
pub(super) async fn start_range(
    cx: &Context,
    from: Moment,
    to: Option<Moment>,
    endpoint_id: Option<String>,
    how: HowArgs,
    now: Timestamp,
) -> Result<(), Failure> {
    let to = to.map_or_else(|| clock::rfc3339(now), |time| time.before(now));
    let range = DlqRange { from: from.before(now), to, endpoint_id };
    how.start(cx, CreateReplay { dlq_range: Some(range), ..CreateReplay::default() }).await
}

impl HowArgs {
    /// How to replay just this one.
    pub(super) fn of_one(self, id: String) -> delivery::Replay {
        delivery::Replay {
            id,
            reason: self.reason,
            new_webhook_id: self.new_webhook_id,
            idempotency_key: self.idempotency_key,
            wait: self.wait.patience().map(Into::into).unwrap_or_default(),
        }
    }

    async fn start(self, cx: &Context, what: CreateReplay) -> Result<(), Failure> {
        let request = CreateReplay {
            rate_per_second: self.rate,
            dry_run: self.dry_run.then_some(true),
            new_webhook_id: self.new_webhook_id.then_some(true),
            reason: self.reason,
            ..what
        };
        let replay = cx.tenant()?.create_replay(&request, self.idempotency_key.as_deref()).await?;
        let Some(patience) = self.wait.patience() else {
            show(&cx.output, &replay)?;
            let hint = format!("see how far it is: harborctl replay status {} --watch", replay.id);
            cx.output.hint(&hint);
            return Ok(());
        };
        follow(cx, replay, patience).await
    }
}

/// Shows a replay that has begun, at its end.
async fn follow(cx: &Context, replay: Replay, patience: Patience) -> Result<(), Failure> {
    let client = cx.tenant()?;
    let look = async |replay: &Replay| client.replay(&replay.id).await;
    let waited = until_ended(&cx.output, patience, replay, look).await?;
    show(&cx.output, &waited.work)?;
    waited.verdict()
}

/// The ids in a text.
fn read_ids(text: String) -> Result<Vec<String>, Failure> {
    let text = text::given_or_stdin(text)?;
    let ids = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|id| !id.is_empty());
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    if ids.is_empty() { Err(Failure::Usage("--ids names no delivery".to_owned())) } else { Ok(ids) }
}

impl LongWork for Replay {
    fn id(&self) -> &str {
        &self.id
    }

    fn status(&self) -> JobStatus {
        self.status
    }

    fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn progress(&self) -> Progress {
        let counts = self.counts;
        let done = counts.succeeded + counts.failed;
        // Everything is counted before the first replay is made.
        if counts.queued + counts.failed == 0 {
            return Progress { done, total: None, text: format!("{} deliveries counted", counts.matched) };
        }
        let text = format!("ended, {} made, {} failed", counts.queued, counts.failed);
        Progress { done, total: Some(counts.matched), text }
    }

    fn shortfall(&self) -> Option<String> {
        let (failed, matched) = (self.counts.failed, self.counts.matched);
        (failed > 0).then(|| format!("{failed} of {matched} could not be replayed, or failed again"))
    }
}

/// Which deliveries it replays; a list does not say it of those that are named one by one.
fn print_selection(replay: &Replay) -> Option<String> {
    if let Some(ids) = &replay.delivery_ids {
        return Some(format!("{} named deliveries", ids.len()));
    }
    if let Some(DlqRange { from, to, endpoint_id }) = &replay.dlq_range {
        let endpoint = endpoint_id.as_ref().map(|id| format!(" to {id}")).unwrap_or_default();
        return Some(format!("dead letters{endpoint} from {from} to {to}"));
    }
    replay.filter.as_ref().map(job::print_filter)
}

fn show(output: &Output, replay: &Replay) -> Result<(), Failure> {
    output.show(replay, |view| view.details(rows(replay, view)))
}

fn rows<'a>(replay: &Replay, view: &View) -> Vec<(&'a str, Cell)> {
    let counts = replay.counts;
    let mut rows = vec![("replay", Cell::new(&replay.id)), ("status", job::status(replay.status))];
    rows.extend(print_selection(replay).map(|which| ("which", Cell::new(which))));
    rows.extend(replay.dry_run.then(|| ("dry run", Cell::new("yes: nothing is replayed"))));
    rows.extend(replay.rate_per_second.map(|rate| ("rate", Cell::new(format_args!("{rate}/s")))));
    rows.extend(replay.new_webhook_id.then(|| ("webhook-id", Cell::new("a new one for each"))));
    rows.extend(replay.reason.as_ref().map(|reason| ("reason", Cell::new(reason))));
    rows.push(("matched", Cell::new(counts.matched)));
    if !replay.dry_run {
        let tone = if counts.failed > 0 { Tone::Bad } else { Tone::Plain };
        rows.push(("made", Cell::new(counts.queued)));
        rows.push(("delivered", Cell::new(counts.succeeded)));
        rows.push(("failed", Cell::toned(counts.failed, tone)));
    }
    rows.extend(replay.error.as_ref().map(|error| ("error", Cell::toned(error, Tone::Bad))));
    rows.push(("created", Cell::exact_time(&replay.created_at, view)));
    rows.push(("updated", Cell::exact_time(&replay.updated_at, view)));
    rows
}
