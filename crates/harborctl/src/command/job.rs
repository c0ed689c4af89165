//! `harborctl job`

use clap::{Args, Subcommand};
use harbor_wire::client::TenantClient;
use harbor_wire::delivery::DeliveryFilter;
use harbor_wire::job::{Job, JobKind, JobStatus};

use crate::args::list::ListArgs;
use crate::args::word;
use crate::command::show_list;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::{Cell, Column, Tone};
use crate::output::{Output, View};
use crate::wait::job::{LongWork, Patience, Progress, until_ended};

const EXAMPLES: &str = "\
Examples:
  harborctl job list
  harborctl job get job_… --watch
  harborctl job get job_… --instance     for one that removes a tenant
  harborctl job cancel job_…

Replays are jobs too: harborctl replay list";

/// Commands on jobs.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum JobCommand {
    /// List jobs that cancel deliveries, or those that remove tenants
    List {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        page: ListArgs,
    },
    /// Show a job and how far it has come
    Get {
        /// Job to show
        id: String,
        /// Wait until it ends, showing how far it is; exit with 1 unless it came to a good end
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        whose: Whose,
    },
    /// Stop a job; what it did stays
    Cancel {
        /// Job to stop
        id: String,
    },
}

/// Whose jobs are meant.
#[derive(Args)]
pub(crate) struct Whose {
    /// Jobs that remove tenants instead of the tenant's own (for operators)
    #[arg(long)]
    instance: bool,
}

const COLUMNS: &[Column<Job>] = &[
    Column::new("ID", |job, _| Cell::new(&job.id)),
    Column::new("KIND", |job, _| Cell::new(word::print(&job.kind))),
    Column::new("STATUS", |job, _| status(job.status)),
    Column::new("DONE", |job, _| Cell::new(job.progress().done)),
    Column::new("CREATED", |job, view| Cell::time(&job.created_at, view)),
    Column::roomy("TENANT", |job, _| Cell::new(&job.tenant_id)),
    Column::roomy("WHICH", |job, _| Cell::maybe(job.filter.as_ref().map(print_filter))),
];

impl JobCommand {
    /// Does what was asked.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            Self::List { whose, page } => {
                let jobs = page.fetch(whose.client(cx)?.jobs(&page.ask())).await?;
                show_list(&cx.output, &jobs, COLUMNS, "jobs")
            }
            Self::Get { id, watch, whose } => {
                let client = whose.client(cx)?;
                let job = client.job(&id).await?;
                if !watch {
                    return show(&cx.output, &job);
                }
                follow(&cx.output, &client, job, Some(Patience(None))).await
            }
            Self::Cancel { id } => show(&cx.output, &cx.tenant()?.cancel_job(&id).await?),
        }
    }
}

impl Whose {
    fn client(&self, cx: &Context) -> Result<TenantClient, Failure> {
        // The instance's jobs lie where an instance credential finds its own.
        if self.instance { Ok(cx.operator()?.own()) } else { cx.tenant() }
    }
}

/// Shows a job that has begun, at its end if it is to be waited for.
pub(super) async fn follow(
    output: &Output,
    client: &TenantClient,
    job: Job,
    patience: Option<Patience>,
) -> Result<(), Failure> {
    let Some(patience) = patience else {
        show(output, &job)?;
        let flag = match job.kind {
            JobKind::Cancel => "",
            JobKind::Purge => " --instance",
        };
        output.hint(&format!("see how far it is: harborctl job get {} --watch{flag}", job.id));
        return Ok(());
    };
    let waited = until_ended(output, patience, job, async |job: &Job| client.job(&job.id).await).await?;
    show(output, &waited.work)?;
    waited.verdict()
}

impl LongWork for Job {
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
        // Neither kind counts first what there is.
        let (done, text) = match self.kind {
            JobKind::Cancel => {
                let done = self.counts.unwrap_or_default().succeeded;
                (done, format!("{done} deliveries cancelled so far"))
            }
            JobKind::Purge => {
                let done = self.removed.iter().flatten().map(|(_, count)| count).sum();
                (done, format!("{done} things removed so far"))
            }
        };
        Progress { done, total: None, text }
    }

    fn shortfall(&self) -> Option<String> {
        // What ended before it could be cancelled needed no cancelling any more.
        None
    }
}

/// Where a job stands.
pub(super) fn status(status: JobStatus) -> Cell {
    let tone = match status {
        JobStatus::Pending => Tone::Plain,
        JobStatus::Running => Tone::Waiting,
        JobStatus::Done => Tone::Good,
        JobStatus::Cancelled | JobStatus::Failed => Tone::Bad,
    };
    Cell::toned(word::print(&status), tone)
}

/// Which deliveries a job is about.
pub(super) fn print_filter(filter: &DeliveryFilter) -> String {
    let DeliveryFilter { endpoint_id, event_id, event_type, status, since, until } = filter;
    let parts = [
        status.map(|status| word::print(&status)),
        event_type.as_ref().map(|event_type| format!("of type {event_type}")),
        event_id.as_ref().map(|id| format!("of {id}")),
        endpoint_id.as_ref().map(|id| format!("to {id}")),
        since.as_ref().map(|time| format!("since {time}")),
        until.as_ref().map(|time| format!("until {time}")),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "all".to_owned() } else { text }
}

fn show(output: &Output, job: &Job) -> Result<(), Failure> {
    output.show(job, |view| {
        let details = view.details(rows(job, view));
        let removed: Vec<_> = job.removed.clone().unwrap_or_default().into_iter().collect();
        if removed.is_empty() { details } else { format!("{details}\n\n{}", view.table(&removed, REMOVED)) }
    })
}

const REMOVED: &[Column<(String, u64)>] = &[
    Column::new("REMOVED", |(kind, _), _| Cell::new(kind)),
    Column::new("COUNT", |(_, count), _| Cell::new(count)),
];

fn rows<'a>(job: &Job, view: &View) -> Vec<(&'a str, Cell)> {
    let mut rows = vec![
        ("job", Cell::new(&job.id)),
        ("kind", Cell::new(word::print(&job.kind))),
        ("tenant", Cell::new(&job.tenant_id)),
        ("status", status(job.status)),
    ];
    rows.extend(job.filter.as_ref().map(|filter| ("which", Cell::new(print_filter(filter)))));
    if let Some(counts) = job.counts {
        rows.push(("matched", Cell::new(counts.matched)));
        rows.push(("cancelled", Cell::new(counts.succeeded)));
        rows.extend((counts.failed > 0).then(|| ("ended otherwise", Cell::new(counts.failed))));
    }
    rows.extend(job.error.as_ref().map(|error| ("error", Cell::toned(error, Tone::Bad))));
    rows.push(("created", Cell::exact_time(&job.created_at, view)));
    rows.push(("updated", Cell::exact_time(&job.updated_at, view)));
    rows
}
