//! `harborctl tail`
//!
//! The API has no stream, so this looks each second: at the newest deliveries, and again at those of which
//! more may have become. It asks a bounded number of times, and says when that is not enough.

mod followed;
mod line;

use std::time::Duration;

use clap::Args;
use harbor_wire::client::{ClientError, TenantClient};
use harbor_wire::delivery::{DeliveryStatus, DeliveryWithAttempts, ListDeliveries};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::args::filter::DeliveryArgs;
use crate::args::word;
use crate::clock;
use crate::command::tail::followed::{FOLLOWED_MAX, Followed};
use crate::command::tail::line::Line;
use crate::context::Context;
use crate::failure::{Failure, is_passing};
use crate::output::Output;

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// The most deliveries that are read in one look.
const READS_MAX: usize = 100;
/// The most of these reads that are under way at a time.
const READS_AT_ONCE: usize = 8;
/// The most pages of new deliveries that are read in one look, and of each open status at the beginning.
const PAGES_MAX: usize = 4;
/// Deliveries on a page.
const PAGE_ITEMS: u16 = 500;
/// The time between two words on what is skipped.
const SKIPS_TOLD_EVERY: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  harborctl tail
  harborctl tail --endpoint ep_… --status dead
  harborctl tail --output json | jq -r '.attempt.error // empty'

It asks the server a bounded number of times a second, and says when it skips
attempts because there are more than it can follow.";

/// Arguments of `harborctl tail`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    which: DeliveryArgs,
    /// Attempts that left their delivery so
    #[arg(long, value_parser = word::parser::<DeliveryStatus>(STATUSES))]
    status: Option<DeliveryStatus>,
}

/// How an attempt can leave its delivery.
const STATUSES: &[&str] = &["delivered", "failed", "dead"];

impl TailArgs {
    /// Follows attempts until somebody interrupts.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => Ok(()),
            result = self.follow(cx) => result,
        }
    }

    async fn follow(self, cx: &Context) -> Result<(), Failure> {
        let mut tail = Tail::begin(cx, self).await?;
        cx.output.hint("following attempts; Ctrl-C ends it");
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_away = false;
        loop {
            ticks.tick().await;
            match tail.look().await {
                Ok(()) if is_away => {
                    cx.output.note("the server answers again");
                    is_away = false;
                }
                Ok(()) => {}
                Err(Failure::Client(error)) if is_passing(&error) => {
                    if !is_away {
                        cx.output.note(&format!("{error}; trying on"));
                    }
                    is_away = true;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// What is followed, and how.
struct Tail<'a> {
    output: &'a Output,
    client: TenantClient,
    args: TailArgs,
    /// What the server's clock is ahead of ours.
    ahead: SignedDuration,
    followed: Followed,
    skips: Skips,
}

impl<'a> Tail<'a> {
    /// Looks for what is open already: its attempts are still to come.
    async fn begin(cx: &'a Context, args: TailArgs) -> Result<Self, Failure> {
        let client = cx.tenant()?;
        let time = cx.anybody()?.ping().await?.time;
        let now = clock::now();
        let began: Timestamp = time.parse().unwrap_or(now);
        let mut tail = Self {
            output: &cx.output,
            client,
            args,
            ahead: began.duration_since(now),
            followed: Followed::new(began),
            skips: Skips::default(),
        };
        for status in [DeliveryStatus::Queued, DeliveryStatus::Inflight, DeliveryStatus::Failed] {
            let query = ListDeliveries { status: Some(status), ..tail.query() };
            tail.list(&query).await?;
        }
        tail.skips.unfollowed += tail.followed.trim();
        Ok(tail)
    }

    fn query(&self) -> ListDeliveries {
        let which = self.args.which.clone();
        ListDeliveries {
            endpoint_id: which.endpoint,
            event_id: which.event,
            event_type: which.event_type,
            limit: Some(PAGE_ITEMS),
            ..ListDeliveries::default()
        }
    }

    /// The server's time.
    fn now(&self) -> Timestamp {
        clock::now().saturating_add(self.ahead).unwrap_or(Timestamp::MAX)
    }

    /// Writes the attempts that were made since the last look.
    async fn look(&mut self) -> Result<(), Failure> {
        let query = ListDeliveries { since: Some(clock::rfc3339(self.followed.since())), ..self.query() };
        if self.list(&query).await? {
            self.skips.unlisted = true;
        }
        let mut lines = Vec::new();
        let outcome = self.read(&mut lines).await;
        lines.sort_by(|a, b| a.attempt.started_at.cmp(&b.attempt.started_at));
        for line in lines.iter().filter(|line| self.args.status.is_none() || line.status == self.args.status)
        {
            self.output.item(line, |view| line.render(view))?;
        }
        self.skips.unread += self.followed.drop_unread();
        self.skips.unfollowed += self.followed.trim();
        self.skips.tell(self.output);
        Ok(outcome?)
    }

    /// Takes note of a list, newest first. Says whether there is more of it.
    async fn list(&mut self, query: &ListDeliveries) -> Result<bool, ClientError> {
        let mut pages = self.client.deliveries(query);
        for _ in 0..PAGES_MAX {
            let Some(page) = pages.next_page().await? else { return Ok(false) };
            let now = self.now();
            page.data.iter().for_each(|delivery| self.followed.see(delivery, now));
            if page.next_cursor.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the deliveries of which more may have become.
    async fn read(&mut self, lines: &mut Vec<Line>) -> Result<(), ClientError> {
        let mut ids = self.followed.due(self.now(), READS_MAX).into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < READS_AT_ONCE {
                let Some(id) = ids.next() else { break };
                under_way.spawn(find(self.client.clone(), id));
            }
            let Some(found) = under_way.join_next().await else { return Ok(()) };
            match found.expect("reading does not panic and is not aborted")? {
                Found::Delivery(delivery) => lines.extend(self.followed.read(*delivery, self.now())),
                Found::Nothing(id) => self.followed.forget(&id),
            }
        }
    }
}

/// What a read brought.
enum Found {
    Delivery(Box<DeliveryWithAttempts>),
    /// It is no longer kept.
    Nothing(String),
}

async fn find(client: TenantClient, id: String) -> Result<Found, ClientError> {
    match client.delivery(&id).await {
        Ok(delivery) => Ok(Found::Delivery(Box::new(delivery))),
        Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(Found::Nothing(id)),
        Err(error) => Err(error),
    }
}

/// What was not shown.
#[derive(Default)]
struct Skips {
    /// Deliveries with new attempts that there was no time to read.
    unread: u64,
    /// Open deliveries beyond those that are followed.
    unfollowed: u64,
    /// Whether there were more new deliveries than were listed.
    unlisted: bool,
    told_at: Option<Instant>,
}

impl Skips {
    /// Says what was skipped, every few seconds at most.
    fn tell(&mut self, output: &Output) {
        let is_quiet = self.unread == 0 && self.unfollowed == 0 && !self.unlisted;
        if is_quiet || self.told_at.is_some_and(|at| at.elapsed() < SKIPS_TOLD_EVERY) {
            return;
        }
        let unlisted = self.unlisted.then(|| "more new deliveries than it can list".to_owned());
        let unread = (self.unread > 0)
            .then(|| format!("attempts of {} deliveries, at {READS_MAX} a second", self.unread));
        let unfollowed = (self.unfollowed > 0)
            .then(|| format!("{} open deliveries, {FOLLOWED_MAX} are followed", self.unfollowed));
        let parts: Vec<_> = [unlisted, unread, unfollowed].into_iter().flatten().collect();
        output.note(&format!("skipped: {}", parts.join("; ")));
        *self = Self { told_at: Some(Instant::now()), ..Self::default() };
    }
}
