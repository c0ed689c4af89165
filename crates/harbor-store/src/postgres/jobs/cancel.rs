//! Cancels open deliveries that match, the oldest first.

use harbor_model::chance::Rng;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::id::DeliveryId;
use harbor_model::job::Job;
use harbor_model::port::history::DeliveryFilter;
use harbor_model::time::Timestamp;

use crate::ending::End;
use crate::postgres::database::Tx;
use crate::postgres::ending;
use crate::postgres::jobs::Step;
use crate::postgres::jobs::candidates::{Place, ROWS_READ_MAX, range_before};
use crate::postgres::rows::{bigint, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// How many rows one look reads: what matches may be rare among them.
const ROWS_AT_ONCE: usize = 1_000;

/// What of a cancel job a batch needs.
pub(super) struct Batch<'a> {
    pub(super) tx: &'a Tx,
    pub(super) rng: &'a dyn Rng,
    pub(super) tenant: i64,
    pub(super) job: &'a Job,
    pub(super) filter: &'a DeliveryFilter,
    pub(super) now: Timestamp,
}

impl Batch<'_> {
    /// Cancels what comes next, at most `limit`.
    pub(super) async fn run(&self, limit: usize) -> Result<Step, Trouble> {
        let (found, place) = self.walk(limit).await?;
        let ended = ending::end(self.tx, self.rng, self.tenant, &found, End::Cancelled, self.now).await?;
        let mut next = self.job.clone();
        // What ended otherwise meanwhile does not match any more.
        let count = ended.ids.len();
        next.counts.matched += count as u64;
        next.counts.succeeded += count as u64;
        next.place = place.to_bytes();
        Ok(Step { job: next, count, is_end: place == Place::End })
    }

    /// Walks on until so many are found or many rows are read.
    async fn walk(&self, limit: usize) -> Result<(Vec<Uuid>, Place), Trouble> {
        let mut found = Vec::new();
        let mut place = Place::of(self.job)?;
        if !may_match(self.filter) {
            return Ok((found, Place::End));
        }
        let mut read_count = 0;
        while place != Place::End && found.len() < limit && read_count < ROWS_READ_MAX {
            let rows = self.rows(place).await?;
            read_count += rows.len();
            let mut is_end = rows.len() < ROWS_AT_ONCE;
            for (id, is_match) in rows {
                if found.len() == limit {
                    is_end = false;
                    break;
                }
                place = Place::Behind(DeliveryId::from_number(id.0));
                found.extend(is_match.then_some(id));
            }
            if is_end {
                place = Place::End;
            }
        }
        Ok((found, place))
    }

    /// The next rows, and whether each matches.
    async fn rows(&self, place: Place) -> Result<Vec<(Uuid, bool)>, Trouble> {
        let filter = self.filter;
        let (first, last) = range_before(self.job, place, filter.since, filter.until);
        let event_type = filter.event_type.as_ref().map(|event_type| event_type.as_str());
        let status = filter.status.map(DeliveryStatus::as_str);
        let endpoint = filter.endpoint_id.map(|id| Uuid(id.number()));
        let event = filter.event_id.map(|id| Uuid(id.number()));
        let rows = self
            .tx
            .query(
                &find_sql(By::of(filter)),
                &[
                    &self.tenant,
                    &first,
                    &last,
                    &bigint(ROWS_AT_ONCE),
                    &event_type,
                    &status,
                    &endpoint,
                    &event,
                ],
            )
            .await?;
        rows.iter().map(|row| Ok((value(row, 0)?, value(row, 1)?))).collect()
    }
}

/// Whether anything that is open can match.
fn may_match(filter: &DeliveryFilter) -> bool {
    match filter.status {
        None | Some(DeliveryStatus::Queued | DeliveryStatus::Failed | DeliveryStatus::Inflight) => true,
        Some(DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Cancelled) => false,
    }
}

/// Which index a filter goes by.
#[derive(Clone, Copy, Debug)]
enum By {
    Event,
    Endpoint,
    Id,
}

impl By {
    fn of(filter: &DeliveryFilter) -> Self {
        match filter {
            DeliveryFilter { event_id: Some(_), .. } => Self::Event,
            DeliveryFilter { endpoint_id: Some(_), .. } => Self::Endpoint,
            _ => Self::Id,
        }
    }
}

fn find_sql(by: By) -> String {
    let condition = match by {
        By::Event => "AND d.event_id = $8",
        By::Endpoint => "AND d.endpoint_id = $7",
        By::Id => "",
    };
    format!(
        "SELECT d.id, coalesce(d.event_type = $5, true) AND coalesce(d.endpoint_id = $7, true)
                AND coalesce(d.event_id = $8, true)
                AND ($6::text IS NULL OR $6 = CASE WHEN (
                    SELECT true FROM leases AS l WHERE l.tenant = d.tenant AND l.delivery_id = d.id LIMIT 1
                    ) THEN 'inflight' ELSE d.status END)
         FROM open_deliveries AS d
         WHERE d.tenant = $1 AND d.id BETWEEN $2 AND $3 {condition} ORDER BY d.id LIMIT $4"
    )
}

/// Every query by which open deliveries are looked for.
#[cfg(test)]
pub(crate) fn all_sql() -> Vec<String> {
    [By::Event, By::Endpoint, By::Id].map(find_sql).into()
}
