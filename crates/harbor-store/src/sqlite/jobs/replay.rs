//! The steps of a job that replays: counting, replaying, looking at what came of it.

use std::sync::Arc;

use harbor_model::delivery::{DeadLetterState, Delivery, DeliveryStatus};
use harbor_model::directory::TenantSnapshot;
use harbor_model::id::DeliveryId;
use harbor_model::job::{Job, JobCounts, ReplayTask, Selection, Task};
use harbor_model::port::Fault;
use harbor_model::port::directory::Directory;
use harbor_model::port::history::DeadLetterFilter;
use harbor_model::port::jobs::{Outcomes, Stepped};
use harbor_model::time::{Clock, Timestamp};
use rusqlite::Connection;

use crate::filters::{is_dead_and_wanted, is_delivery_wanted};
use crate::pages::IdRange;
use crate::sqlite::SqliteStore;
use crate::sqlite::history::{DeliveryList, Direction, dead_sql};
use crate::sqlite::jobs::place::Place;
use crate::sqlite::jobs::{LOOK_MAX, is_as_read, put};
use crate::sqlite::replay::{Repeat, Repeated};
use crate::sqlite::rows::{blob, delivery, number};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Weight, Work};

/// The most rows that one step reads in search of what it is to replay.
const ROWS_READ_MAX: usize = 10_000;

/// Counts on.
pub(super) async fn count(
    store: &SqliteStore,
    job: &Job,
    limit: usize,
    now: Timestamp,
) -> Result<Stepped, Fault> {
    let bounds = Bounds { found_max: usize::MAX, rows_max: limit };
    let Some(found) = look(store, job, bounds).await? else { return Ok(Stepped::Stale) };
    let job = job.clone();
    let count = found.ids.len();
    let note = move |tx: &mut Tx<'_>| {
        // The count begins with the walk, however often that began.
        let before = if job.place.is_empty() { 0 } else { job.counts.matched };
        let matched = before + found.ids.len() as u64;
        let place = if found.is_end { Vec::new() } else { found.place.bytes() };
        let next = Job { counts: JobCounts { matched, ..job.counts }, place, ..job.clone() };
        Ok(match put(tx.conn, next, now)? {
            Some(job) => Stepped::Made { job, count, is_end: found.is_end },
            None => Stepped::Stale,
        })
    };
    store.database.change(note, |_| ()).await
}

/// Replays on.
pub(super) async fn make(
    store: &SqliteStore,
    job: &Job,
    ids: Vec<DeliveryId>,
    now: Timestamp,
) -> Result<Stepped, Fault> {
    assert!(ids.iter().all(|id| id.made_at() == now), "a delivery's time is that of its id");
    let bounds = Bounds { found_max: ids.len(), rows_max: ROWS_READ_MAX };
    let Some(found) = look(store, job, bounds).await? else { return Ok(Stepped::Stale) };
    let snapshot = store.tenant(&job.tenant_id).await?;
    let weight = Weight { items: found.ids.len().max(1), bytes: 0 };
    let work = ReplayBatch { job: job.clone(), found, ids, snapshot, now };
    store.database.hand_in(Some(job.tenant_id.clone()), weight, work).await
}

/// How far one look goes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    found_max: usize,
    rows_max: usize,
}

/// What a step found.
struct Found {
    ids: Vec<DeliveryId>,
    place: Place,
    is_end: bool,
}

/// Looks for what a job replays, from its place on. None where its tenant is gone.
async fn look(store: &SqliteStore, job: &Job, bounds: Bounds) -> Result<Option<Found>, Fault> {
    let (job, clock) = (job.clone(), store.clock.clone());
    let look = move |conn: &Connection| {
        let Task::Replay(task) = &job.task else { unreachable!("only a replay has something to replay") };
        let Some(tenant) = find_tenant_number(conn, &job.tenant_id)? else { return Ok(None) };
        let after = match Place::read(&job.place)? {
            Place::After(after) => after,
            Place::End => return Ok(Some(Found { ids: Vec::new(), place: Place::End, is_end: true })),
        };
        match &task.selection {
            Selection::Ids(ids) => Ok(Some(of_ids(ids, after, bounds))),
            Selection::DeadLetters { .. } | Selection::Filter(_) => {
                Walk { conn, tenant, job: &job, task, clock: &*clock }.walk(after, bounds).map(Some)
            }
        }
    };
    store.database.browse(look).await
}

/// What is named, as it is listed. What of it cannot be replayed is found when it is tried.
fn of_ids(ids: &[DeliveryId], after: u128, bounds: Bounds) -> Found {
    let done = usize::try_from(after).unwrap_or(usize::MAX).min(ids.len());
    let count = bounds.found_max.min(bounds.rows_max).min(ids.len() - done);
    let end = done + count;
    let is_end = end == ids.len();
    let place = if is_end { Place::End } else { Place::After(end as u128) };
    Found { ids: ids[done..end].to_vec(), place, is_end }
}

/// A walk over what matches, the oldest first, so that replays join their lanes in the order of the originals.
struct Walk<'a> {
    conn: &'a Connection,
    tenant: i64,
    job: &'a Job,
    task: &'a ReplayTask,
    clock: &'a dyn Clock,
}

impl Walk<'_> {
    fn walk(&self, after: u128, bounds: Bounds) -> Result<Found, Trouble> {
        let (sql, narrowed_by, range) = self.query();
        let (first, last) = range.ends();
        let first = first.max(after.saturating_add(u128::from(after > 0)));
        let mut found = Found { ids: Vec::new(), place: Place::End, is_end: true };
        if range.is_empty() || first > last {
            return Ok(found);
        }
        let began = self.clock.elapsed();
        let mut query = self.conn.prepare_cached(&sql)?;
        let mut rows = query.query((self.tenant, blob(first), blob(last), narrowed_by.map(blob)))?;
        let (mut rows_read, mut at) = (0, after);
        while let Some(row) = rows.next()? {
            let is_late = rows_read % 64 == 63 && self.clock.elapsed().saturating_sub(began) > LOOK_MAX;
            if found.ids.len() >= bounds.found_max || rows_read >= bounds.rows_max || is_late {
                return Ok(Found { place: Place::After(at), is_end: false, ..found });
            }
            rows_read += 1;
            at = number(row, 0)?;
            let candidate = delivery(row, &self.job.tenant_id, false)?;
            if self.is_wanted(&candidate)? {
                found.ids.push(candidate.id);
            }
        }
        Ok(found)
    }

    /// The query, of the event or endpoint as `?4`, and between which ids: only what was made before the job.
    fn query(&self) -> (String, Option<u128>, IdRange) {
        let before_job = Timestamp::from_unix_ms(self.job.created_at.unix_ms() + 1);
        match &self.task.selection {
            Selection::DeadLetters { to, endpoint_id, .. } => {
                // Nothing dies before it is made; how long after is not known.
                let range = IdRange::new(None, None, Some((*to).min(before_job)));
                let sql =
                    dead_sql(Some(DeadLetterState::Open), endpoint_id.is_some(), Direction::OldestFirst);
                (sql, endpoint_id.map(|id| id.number()), range)
            }
            Selection::Filter(filter) => {
                let until = filter.until.map_or(before_job, |until| until.min(before_job));
                let range = IdRange::new(None, filter.since, Some(until));
                let list = DeliveryList::choose(filter);
                (list.sql(Direction::OldestFirst), list.narrowed_by(filter), range)
            }
            Selection::Ids(_) => unreachable!("what is named is not looked for"),
        }
    }

    fn is_wanted(&self, candidate: &Delivery) -> Result<bool, Trouble> {
        let matches = match &self.task.selection {
            Selection::DeadLetters { from, to, .. } => {
                let filter =
                    DeadLetterFilter { since: Some(*from), until: Some(*to), ..DeadLetterFilter::default() };
                is_dead_and_wanted(candidate, &filter)
            }
            Selection::Filter(filter) => is_final(candidate.status) && is_delivery_wanted(candidate, filter),
            Selection::Ids(_) => unreachable!("what is named is not looked for"),
        };
        Ok(matches && !has_replay(self.conn, self.tenant, candidate.id)? && !self.is_own(candidate)?)
    }

    /// Whether the job itself made it: time may stand still between a job and its replays.
    fn is_own(&self, candidate: &Delivery) -> Result<bool, Trouble> {
        if candidate.replay_of.is_none() || candidate.created_at < self.job.created_at {
            return Ok(false);
        }
        let key = (self.tenant, blob(candidate.id.number()), blob(self.job.id.number()));
        Ok(self.conn.prepare_cached(IS_OF_JOB)?.exists(key)?)
    }
}

pub(crate) const IS_OF_JOB: &str =
    "SELECT 1 FROM deliveries NOT INDEXED WHERE tenant = ?1 AND id = ?2 AND replay_job = ?3";

pub(crate) const HAS_REPLAY: &str = "SELECT 1 FROM deliveries INDEXED BY deliveries_by_original
    WHERE tenant = ?1 AND replay_of = ?2 LIMIT 1";

fn has_replay(conn: &Connection, tenant: i64, of: DeliveryId) -> Result<bool, Trouble> {
    Ok(conn.prepare_cached(HAS_REPLAY)?.exists((tenant, blob(of.number())))?)
}

fn is_final(status: DeliveryStatus) -> bool {
    match status {
        DeliveryStatus::Queued | DeliveryStatus::Inflight | DeliveryStatus::Failed => false,
        DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Cancelled => true,
    }
}

struct ReplayBatch {
    job: Job,
    found: Found,
    ids: Vec<DeliveryId>,
    snapshot: Option<Arc<TenantSnapshot>>,
    now: Timestamp,
}

impl Work for ReplayBatch {
    type Answer = Stepped;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Stepped, Trouble> {
        let Some(tenant) = tx.tenant(&self.job.tenant_id)? else { return Ok(Stepped::Stale) };
        if !is_as_read(tx.conn, &self.job)? {
            return Ok(Stepped::Stale);
        }
        let mut counts = self.job.counts;
        for (of, id) in std::iter::zip(&self.found.ids, &self.ids) {
            let is_made = self.repeat(tx.conn, tenant.number, *of, *id)?;
            *(if is_made { &mut counts.queued } else { &mut counts.failed }) += 1;
        }
        let seen = counts.queued + counts.failed;
        counts.matched = if self.found.is_end { seen } else { counts.matched.max(seen) };
        let next = Job { counts, place: self.found.place.bytes(), ..self.job.clone() };
        let job = put(tx.conn, next, self.now)?.expect("it was seen to be as it was read");
        Ok(Stepped::Made { job, count: self.found.ids.len(), is_end: self.found.is_end })
    }
}

impl ReplayBatch {
    /// Makes one replay, unless somebody made one before.
    fn repeat(
        &self,
        conn: &Connection,
        tenant: i64,
        of: DeliveryId,
        id: DeliveryId,
    ) -> Result<bool, Trouble> {
        let Task::Replay(task) = &self.job.task else {
            unreachable!("only a replay has something to replay")
        };
        if has_replay(conn, tenant, of)? {
            return Ok(false);
        }
        let repeat = Repeat {
            id,
            of,
            reason: task.reason.as_deref(),
            new_webhook_id: task.new_webhook_id,
            job: Some(self.job.id),
            now: self.now,
        };
        Ok(repeat.make(conn, tenant, self.snapshot.as_deref())? == Repeated::Made)
    }
}

/// How many replays are counted in one read.
const COUNTED_AT_ONCE: i64 = 50_000;

pub(crate) const COUNT_OF_JOB: &str = "SELECT count(*), max(id) FROM (
        SELECT id FROM deliveries INDEXED BY deliveries_by_job
        WHERE tenant = ?1 AND replay_job = ?2 AND status = ?3 AND id > ?4 ORDER BY id LIMIT ?5)";

/// Counts the replays that a job made, by what has become of them.
pub(super) async fn outcomes(store: &SqliteStore, job: &Job) -> Result<Outcomes, Fault> {
    let mut outcomes = Outcomes::default();
    // What is open comes first: where none is, what follows moves no more, and the counts are exact.
    for status in [
        DeliveryStatus::Queued,
        DeliveryStatus::Failed,
        DeliveryStatus::Delivered,
        DeliveryStatus::Dead,
        DeliveryStatus::Cancelled,
    ] {
        let count = count_of_job(store, job, status).await?;
        let sum = match status {
            DeliveryStatus::Queued | DeliveryStatus::Inflight | DeliveryStatus::Failed => &mut outcomes.open,
            DeliveryStatus::Delivered => &mut outcomes.delivered,
            DeliveryStatus::Dead | DeliveryStatus::Cancelled => &mut outcomes.failed,
        };
        *sum += count;
    }
    Ok(outcomes)
}

async fn count_of_job(store: &SqliteStore, job: &Job, status: DeliveryStatus) -> Result<u64, Fault> {
    let (mut sum, mut after) = (0, [0; 16]);
    loop {
        let (tenant_id, job_id) = (job.tenant_id.clone(), blob(job.id.number()));
        let count = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else { return Ok((0, None)) };
            let key = (tenant, job_id, status.as_str(), after, COUNTED_AT_ONCE);
            let counted: (i64, Option<[u8; 16]>) =
                conn.prepare_cached(COUNT_OF_JOB)?.query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(counted)
        };
        let (count, last) = store.database.browse(count).await?;
        sum += count.unsigned_abs();
        match last {
            Some(last) if count == COUNTED_AT_ONCE => after = last,
            Some(_) | None => return Ok(sum),
        }
    }
}
