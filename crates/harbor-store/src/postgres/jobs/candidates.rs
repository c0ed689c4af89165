//! What a job that replays has before it: a walk by ids, the oldest first, so that what is ordered is
//! replayed in order.

use harbor_model::delivery::DeliveryStatus;
use harbor_model::id::DeliveryId;
use harbor_model::job::{Job, Selection};
use harbor_model::port::history::DeliveryFilter;
use harbor_model::time::Timestamp;
use tokio_postgres::types::ToSql;

use crate::pages::IdRange;
use crate::postgres::database::{Link, Tx};
use crate::postgres::jobs::Step;
use crate::postgres::rows::{bigint, value, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// How many rows one look reads at least: what matches may be rare among them.
const ROWS_AT_ONCE_MIN: usize = 256;

/// How many rows one step reads in search of what matches.
pub(super) const ROWS_READ_MAX: usize = 10_000;

/// Where a walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Beginning,
    /// Behind this delivery.
    Behind(DeliveryId),
    /// Behind so many of the deliveries that were named one by one.
    Passed(u32),
    /// There is nothing more.
    End,
}

/// What is kept of [`Place::End`]; retention looks for it, too.
pub(crate) const END: &[u8] = b"end";

impl Place {
    /// Reads a place that [`Place::to_bytes`] wrote.
    pub(super) fn of(job: &Job) -> Result<Self, Trouble> {
        let bytes = job.place.as_slice();
        if let Ok(id) = <[u8; 16]>::try_from(bytes) {
            return Ok(Self::Behind(DeliveryId::from_number(u128::from_be_bytes(id))));
        }
        if let Ok(count) = <[u8; 4]>::try_from(bytes) {
            return Ok(Self::Passed(u32::from_be_bytes(count)));
        }
        match bytes {
            [] => Ok(Self::Beginning),
            END => Ok(Self::End),
            _ => Err(Trouble::damaged("place of a job", format!("{bytes:?}"))),
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Beginning => Vec::new(),
            Self::Behind(id) => id.number().to_be_bytes().to_vec(),
            Self::Passed(count) => count.to_be_bytes().to_vec(),
            Self::End => END.to_vec(),
        }
    }

    /// How many of the deliveries that were named one by one lie behind it.
    fn passed(self) -> usize {
        match self {
            Self::Beginning | Self::Behind(_) => 0,
            Self::Passed(count) => count as usize,
            Self::End => usize::MAX,
        }
    }
}

/// Which ids a walk has before it: behind its place, made before its job, and within these times.
pub(super) fn range_before(
    job: &Job,
    place: Place,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> (Uuid, Uuid) {
    // What was made in the same millisecond as the job may be from before it.
    let made_until = Timestamp::from_unix_ms(job.created_at.unix_ms() + 1);
    let until = until.map_or(made_until, |until| until.min(made_until));
    let range = IdRange::new(None, since, Some(until));
    let (first, last) = if range.is_empty() { (1, 0) } else { range.ends() };
    let first = match place {
        Place::Beginning | Place::Passed(_) => first,
        Place::Behind(id) => first.max(id.number().saturating_add(1)),
        Place::End => u128::MAX,
    };
    (Uuid(first), Uuid(last))
}

/// What a part of a walk came upon.
pub(super) struct Walked {
    /// What is to be replayed, in the order of the walk.
    pub(super) found: Vec<DeliveryId>,
    pub(super) place: Place,
}

/// Walks on until so many are found or so many rows are read.
pub(super) async fn walk(
    link: &Link,
    tenant: i64,
    job: &Job,
    selection: &Selection,
    found_max: usize,
    rows_max: usize,
) -> Result<Walked, Trouble> {
    let mut walked = Walked { found: Vec::new(), place: Place::of(job)? };
    if let Selection::Ids(ids) = selection {
        let passed = walked.place.passed().min(ids.len());
        let end = ids.len().min(passed.saturating_add(found_max));
        walked.found = ids[passed..end].to_vec();
        walked.place = if end == ids.len() { Place::End } else { passed_at(end) };
        return Ok(walked);
    }
    let query = Query::of(selection);
    let mut rows_left = rows_max;
    while walked.place != Place::End && walked.found.len() < found_max && rows_left > 0 {
        let Some(query) = &query else {
            walked.place = Place::End;
            break;
        };
        let wanted = (found_max - walked.found.len()).saturating_add(1).max(ROWS_AT_ONCE_MIN).min(rows_left);
        let rows = query.rows(link, tenant, job, walked.place, wanted).await?;
        rows_left -= wanted.min(rows_left);
        let is_end = rows.len() < wanted;
        let mut is_cut = false;
        for (id, is_match) in rows {
            if walked.found.len() == found_max {
                is_cut = true;
                break;
            }
            walked.place = Place::Behind(id);
            walked.found.extend(is_match.then_some(id));
        }
        if is_end && !is_cut {
            walked.place = Place::End;
        }
    }
    Ok(walked)
}

fn passed_at(count: usize) -> Place {
    Place::Passed(u32::try_from(count).expect("a job names fewer deliveries"))
}

/// Counts on what matches.
pub(super) async fn count(
    tx: &Tx,
    tenant: i64,
    job: &Job,
    selection: &Selection,
    limit: usize,
) -> Result<Step, Trouble> {
    let walked = walk(tx, tenant, job, selection, limit, limit).await?;
    let mut next = job.clone();
    let count = match selection {
        Selection::Ids(_) => count_replayable(tx, tenant, &walked.found).await?,
        Selection::DeadLetters { .. } | Selection::Filter(_) => walked.found.len(),
    };
    next.counts.matched += count as u64;
    let is_end = walked.place == Place::End;
    next.place = if is_end { Place::Beginning } else { walked.place }.to_bytes();
    Ok(Step { job: next, count, is_end })
}

/// Whether nobody has made a replay of the delivery `d`.
macro_rules! no_replay {
    () => {
        "(SELECT true FROM open_deliveries AS r WHERE r.tenant = d.tenant AND r.replay_of = d.id LIMIT 1) IS NULL
         AND (SELECT true FROM deliveries_done AS r
              WHERE r.tenant = d.tenant AND r.replay_of = d.id LIMIT 1) IS NULL"
    };
}
pub(super) use no_replay;

pub(crate) const COUNT_REPLAYABLE: &str = concat!(
    "SELECT count(*) FROM unnest($2::uuid[]) AS asked (id),
    LATERAL (
        SELECT 1 FROM deliveries_done AS d WHERE d.tenant = $1 AND d.id = asked.id AND ",
    no_replay!(),
    " OFFSET 0) AS d"
);

/// How many of these are final and were not replayed before.
async fn count_replayable(link: &Link, tenant: i64, ids: &[DeliveryId]) -> Result<usize, Trouble> {
    let mut ids: Vec<Uuid> = ids.iter().map(|id| Uuid(id.number())).collect();
    ids.sort_unstable();
    ids.dedup();
    let row = link.query_opt(COUNT_REPLAYABLE, &[&tenant, &ids]).await?;
    whole(&row.expect("an aggregate has one row"), 0, "count of deliveries")
}

/// Reads what a selection is about.
enum Query<'a> {
    DeadLetters { from: Timestamp, to: Timestamp, endpoint: Option<Uuid> },
    Filter { filter: &'a DeliveryFilter },
}

impl<'a> Query<'a> {
    /// None where nothing can match.
    fn of(selection: &'a Selection) -> Option<Self> {
        match selection {
            Selection::Ids(_) => None,
            Selection::DeadLetters { from, to, endpoint_id } => {
                let endpoint = endpoint_id.map(|id| Uuid(id.number()));
                Some(Self::DeadLetters { from: *from, to: *to, endpoint })
            }
            Selection::Filter(filter) => match filter.status {
                // What is open is not replayed.
                Some(DeliveryStatus::Queued | DeliveryStatus::Failed | DeliveryStatus::Inflight) => None,
                Some(DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Cancelled) | None => {
                    Some(Self::Filter { filter })
                }
            },
        }
    }

    /// The next rows, and whether each matches.
    async fn rows(
        &self,
        link: &Link,
        tenant: i64,
        job: &Job,
        place: Place,
        limit: usize,
    ) -> Result<Vec<(DeliveryId, bool)>, Trouble> {
        let limit = bigint(limit);
        let rows = match self {
            Self::DeadLetters { from, to, endpoint } => {
                // Nothing dies before it is made; how long after is not known.
                let (first, last) = range_before(job, place, None, Some(*to));
                let (from, to) = (from.unix_ms(), to.unix_ms());
                let mut parameters: Vec<&(dyn ToSql + Sync)> =
                    vec![&tenant, &first, &last, &limit, &from, &to];
                if let Some(endpoint) = endpoint {
                    parameters.push(endpoint);
                }
                link.query(&dead_letters_sql(endpoint.is_some()), &parameters).await?
            }
            Self::Filter { filter } => {
                let (first, last) = range_before(job, place, filter.since, filter.until);
                let event_type = filter.event_type.as_ref().map(|event_type| event_type.as_str());
                let status = filter.status.map(DeliveryStatus::as_str);
                let endpoint = filter.endpoint_id.map(|id| Uuid(id.number()));
                let event = filter.event_id.map(|id| Uuid(id.number()));
                let made_by = Uuid(job.id.number());
                let parameters: [&(dyn ToSql + Sync); 9] =
                    [&tenant, &first, &last, &limit, &event_type, &status, &endpoint, &event, &made_by];
                link.query(&filter_sql(By::of(filter)), &parameters).await?
            }
        };
        rows.iter()
            .map(|row| Ok((DeliveryId::from_number(value::<Uuid>(row, 0)?.0), value(row, 1)?)))
            .collect()
    }
}

fn dead_letters_sql(is_of_endpoint: bool) -> String {
    let of_endpoint = if is_of_endpoint { "AND d.endpoint_id = $7" } else { "" };
    format!(
        "SELECT d.id, coalesce(d.dead_at >= $5 AND d.dead_at < $6, false) FROM deliveries_done AS d
         WHERE d.tenant = $1 AND d.dlq_state = 'open' AND d.id BETWEEN $2 AND $3 {of_endpoint}
         ORDER BY d.id LIMIT $4"
    )
}

/// Which index a filter goes by.
#[derive(Clone, Copy, Debug)]
enum By {
    Event,
    Endpoint,
    Death,
    Id,
}

impl By {
    fn of(filter: &DeliveryFilter) -> Self {
        match filter {
            DeliveryFilter { event_id: Some(_), .. } => Self::Event,
            DeliveryFilter { endpoint_id: Some(_), .. } => Self::Endpoint,
            DeliveryFilter { status: Some(DeliveryStatus::Dead), .. } => Self::Death,
            _ => Self::Id,
        }
    }
}

/// What a filter says of a delivery `d` that is in the range, and that nobody replayed it.
const IS_MATCH: &str = concat!(
    "coalesce(d.event_type = $5, true) AND coalesce(d.status = $6, true) AND coalesce(d.endpoint_id = $7, true)
     AND coalesce(d.event_id = $8, true) AND d.replay_job IS DISTINCT FROM $9::uuid AND ",
    no_replay!()
);

fn filter_sql(by: By) -> String {
    let part = |condition: &str| {
        format!(
            "SELECT d.id, {IS_MATCH} AS is_match FROM deliveries_done AS d
             WHERE d.tenant = $1 AND d.id BETWEEN $2 AND $3 {condition} ORDER BY d.id LIMIT $4"
        )
    };
    match by {
        By::Event => part("AND d.event_id = $8"),
        By::Endpoint => part("AND d.endpoint_id = $7"),
        // The index goes by state first, so what is dead is merged of three.
        By::Death => {
            let parts = ["open", "replayed", "discarded"]
                .map(|state| format!("({})", part(&format!("AND d.dlq_state = '{state}'"))));
            format!("{} ORDER BY id LIMIT $4", parts.join(" UNION ALL "))
        }
        By::Id => part(""),
    }
}

/// Every query by which candidates are looked for.
#[cfg(test)]
pub(crate) fn all_sql() -> Vec<String> {
    let dead_letters = [false, true].map(dead_letters_sql);
    let filters = [By::Event, By::Endpoint, By::Death, By::Id].map(filter_sql);
    dead_letters.into_iter().chain(filters).collect()
}
