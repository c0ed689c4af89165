//! The steps of a job that cancels.

use std::sync::Arc;

use harbor_model::id::{DeliveryId, EndpointId, EventId};
use harbor_model::job::{Job, JobCounts, Task};
use harbor_model::port::Fault;
use harbor_model::port::history::DeliveryFilter;
use harbor_model::port::jobs::Stepped;
use harbor_model::time::{Clock, Timestamp};
use rusqlite::Connection;

use crate::ending::End;
use crate::filters::is_delivery_wanted;
use crate::pages::IdRange;
use crate::sqlite::SqliteStore;
use crate::sqlite::finish::end_open;
use crate::sqlite::jobs::{LOOK_MAX, is_as_read, put};
use crate::sqlite::leases::{LeaseTable, Seized};
use crate::sqlite::rows::{DELIVERY_COLUMNS, blob, delivery, number};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Weight, Work};

/// The most rows that one step reads in search of what it is to cancel.
const ROWS_READ_MAX: usize = 20_000;

/// Cancels on.
pub(super) async fn make(
    store: &SqliteStore,
    job: &Job,
    limit: usize,
    now: Timestamp,
) -> Result<Stepped, Fault> {
    let (asked, clock, leases) = (job.clone(), store.clock.clone(), store.leases.clone());
    let look = move |conn: &Connection| {
        let Some(tenant) = find_tenant_number(conn, &asked.tenant_id)? else { return Ok(None) };
        Walk { conn, tenant, job: &asked, leases: &leases, clock: &*clock }.walk(limit).map(Some)
    };
    let Some(found) = store.database.browse(look).await? else { return Ok(Stepped::Stale) };
    let weight = Weight { items: found.ids.len().max(1), bytes: 0 };
    let work = CancelBatch { job: job.clone(), found, leases: store.leases.clone(), now };
    let (stepped, _seized) = store.database.hand_in(Some(job.tenant_id.clone()), weight, work).await?;
    Ok(stepped)
}

/// Where the walk goes on: below this endpoint, due time and id, in the index of what is due.
///
/// It goes downwards, so that those behind the head of a lane, which are due at the end of time, are
/// cancelled before it: none of them becomes due for a moment. What is tried meanwhile may move past the walk;
/// so it is made again until it finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    has_found: bool,
    endpoint: [u8; 16],
    due_at: i64,
    id: [u8; 16],
}

const BEGINNING: Place = Place { has_found: false, endpoint: [0xff; 16], due_at: i64::MAX, id: [0xff; 16] };

/// How the end stands in a row.
const END: &[u8] = b"end";

impl Place {
    /// Reads the place of a job; none at the end.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Trouble> {
        if bytes.is_empty() {
            return Ok(Some(BEGINNING));
        }
        if bytes == END {
            return Ok(None);
        }
        let place = || {
            let (has_found, rest) = bytes.split_first()?;
            let (endpoint, rest) = rest.split_first_chunk()?;
            let (due_at, id) = rest.split_first_chunk()?;
            Some(Self {
                has_found: *has_found != 0,
                endpoint: *endpoint,
                due_at: i64::from_be_bytes(*due_at),
                id: id.try_into().ok()?,
            })
        };
        place().map(Some).ok_or_else(|| Trouble::damaged("place of a job", format!("{bytes:?}")))
    }

    /// The bytes that [`Place::read`] reads.
    fn bytes(self) -> Vec<u8> {
        [&[u8::from(self.has_found)][..], &self.endpoint, &self.due_at.to_be_bytes(), &self.id].concat()
    }
}

/// What a step found.
struct Found {
    ids: Vec<DeliveryId>,
    /// None at the end.
    place: Option<Place>,
}

struct Walk<'a> {
    conn: &'a Connection,
    tenant: i64,
    job: &'a Job,
    leases: &'a LeaseTable,
    clock: &'a dyn Clock,
}

/// The query of what is open, from a place downwards: of the event or the endpoint `?5`, or of all.
pub(crate) fn open_sql(filter: &DeliveryFilter) -> String {
    let (index, condition) = match filter {
        DeliveryFilter { event_id: Some(_), .. } => {
            // The few of one event are read each time.
            return format!(
                "SELECT {DELIVERY_COLUMNS} FROM deliveries INDEXED BY deliveries_by_event
                 WHERE tenant = ?1 AND event_id = ?5 AND due_at IS NOT NULL
                   AND ?2 IS NOT NULL AND ?3 IS NOT NULL AND id < ?4 ORDER BY id DESC"
            );
        }
        DeliveryFilter { endpoint_id: Some(_), .. } => {
            ("deliveries_due", "endpoint_id = ?5 AND ?2 IS NOT NULL AND (due_at, id) < (?3, ?4)")
        }
        _ => ("deliveries_due", "(endpoint_id, due_at, id) < (?2, ?3, ?4) AND ?5 IS NULL"),
    };
    format!(
        "SELECT {DELIVERY_COLUMNS} FROM deliveries INDEXED BY {index}
         WHERE tenant = ?1 AND due_at IS NOT NULL AND {condition}
         ORDER BY endpoint_id DESC, due_at DESC, id DESC"
    )
}

impl Walk<'_> {
    fn walk(&self, limit: usize) -> Result<Found, Trouble> {
        let Task::Cancel(filter) = &self.job.task else { unreachable!("only a cancel job cancels") };
        let Some(begin) = Place::read(&self.job.place)? else {
            return Ok(Found { ids: Vec::new(), place: None });
        };
        let before_job = Timestamp::from_unix_ms(self.job.created_at.unix_ms() + 1);
        let until = filter.until.map_or(before_job, |until| until.min(before_job));
        let range = IdRange::new(None, filter.since, Some(until));
        let narrowed_by = filter.event_id.map(EventId::number).or(filter.endpoint_id.map(EndpointId::number));

        let began = self.clock.elapsed();
        let mut query = self.conn.prepare_cached(&open_sql(filter))?;
        let key = (self.tenant, begin.endpoint, begin.due_at, begin.id, narrowed_by.map(blob));
        let mut rows = query.query(key)?;
        let (mut ids, mut rows_read, mut place) = (Vec::new(), 0, begin);
        while let Some(row) = rows.next()? {
            let is_late = rows_read % 64 == 63 && self.clock.elapsed().saturating_sub(began) > LOOK_MAX;
            if ids.len() >= limit || rows_read >= ROWS_READ_MAX || is_late {
                return Ok(Found { ids, place: Some(place) });
            }
            rows_read += 1;
            let id = DeliveryId::from_number(number(row, 0)?);
            let found = delivery(row, &self.job.tenant_id, self.leases.is_leased(id))?;
            place = Place {
                endpoint: blob(found.endpoint_id.number()),
                due_at: row.get("due_at")?,
                id: blob(id.number()),
                ..place
            };
            if range.contains(id.number()) && is_delivery_wanted(&found, filter) {
                place.has_found = true;
                ids.push(id);
            }
        }
        Ok(Found { ids, place: place.has_found.then_some(BEGINNING) })
    }
}

struct CancelBatch {
    job: Job,
    found: Found,
    leases: Arc<LeaseTable>,
    now: Timestamp,
}

impl Work for CancelBatch {
    /// With what keeps others away from what was cancelled until the commit is answered.
    type Answer = (Stepped, Vec<Seized>);

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Self::Answer, Trouble> {
        let Some(tenant) = tx.tenant(&self.job.tenant_id)? else { return Ok((Stepped::Stale, Vec::new())) };
        if !is_as_read(tx.conn, &self.job)? {
            return Ok((Stepped::Stale, Vec::new()));
        }
        let mut seized = Vec::new();
        let JobCounts { mut matched, mut succeeded, mut failed, queued } = self.job.counts;
        for id in &self.found.ids {
            seized.extend(self.leases.take_away(&self.job.tenant_id, *id));
            let is_ended = end_open(tx, tenant.number, id.number(), End::Cancelled, self.now)?;
            matched += 1;
            *(if is_ended { &mut succeeded } else { &mut failed }) += 1;
        }
        let next = Job {
            counts: JobCounts { matched, queued, succeeded, failed },
            place: self.found.place.map_or_else(|| END.to_vec(), Place::bytes),
            ..self.job.clone()
        };
        let job = put(tx.conn, next, self.now)?.expect("it was seen to be as it was read");
        let is_end = self.found.place.is_none();
        Ok((Stepped::Made { job, count: self.found.ids.len(), is_end }, seized))
    }
}
