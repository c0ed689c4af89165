//! The steps of a job that removes everything of a tenant.
//!
//! What is deleted is overwritten with zeros (`secure_delete`). At the end the log, in which it still stands, is
//! copied and cut off, and the unused parts of pages, where copies of it may lie, are wiped (`scrub.rs`).

use harbor_model::job::{Job, JobStatus, Task};
use harbor_model::port::Fault;
use harbor_model::port::jobs::{Removed, Stepped};
use harbor_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::SqliteStore;
use crate::sqlite::jobs::{is_as_read, put};
use crate::sqlite::rows::blob;
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Weight, Work};

/// What one step removes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// Rows of a table, by a statement that deletes at most `?2` of the tenant `?1`.
    Rows { kind: &'static str, delete: &'static str },
    /// Rows of a table that are wide: at most as many bytes at a time as a transaction is to hold.
    Wide { kind: &'static str, list: &'static str, delete: &'static str },
}

/// Every table that has rows of tenants, but for the tenants themselves, their data keys and the purge.
pub(crate) const STAGES: [Stage; 16] = [
    // First what makes anything of the rest.
    Stage::Rows {
        kind: "jobs",
        delete: "DELETE FROM jobs WHERE id IN (
            SELECT id FROM jobs INDEXED BY jobs_by_tenant WHERE tenant = ?1 AND kind <> 'purge' LIMIT ?2)",
    },
    Stage::Rows {
        kind: "notices",
        delete: "DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "subscriptions",
        delete: "DELETE FROM subscriptions WHERE (tenant, id) IN (
            SELECT tenant, id FROM subscriptions WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "sources",
        delete: "DELETE FROM sources WHERE (tenant, id) IN (
            SELECT tenant, id FROM sources NOT INDEXED WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "rejections",
        delete: "DELETE FROM rejections WHERE (tenant, source_id, id) IN (
            SELECT tenant, source_id, id FROM rejections WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "lanes",
        delete: "DELETE FROM lanes WHERE (tenant, endpoint_id, lane_key) IN (
            SELECT tenant, endpoint_id, lane_key FROM lanes WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "breakers",
        delete: "DELETE FROM breakers WHERE (tenant, endpoint_id) IN (
            SELECT tenant, endpoint_id FROM breakers WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "failing_endpoints",
        delete: "DELETE FROM failing_endpoints WHERE (tenant, endpoint_id) IN (
            SELECT tenant, endpoint_id FROM failing_endpoints WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Wide {
        kind: "attempts",
        list: "SELECT delivery_id, id, coalesce(length(response_body), 0) + coalesce(length(response_headers), 0)
            FROM attempts WHERE tenant = ?1",
        delete: "DELETE FROM attempts WHERE tenant = ?1 AND delivery_id = ?2 AND id = ?3",
    },
    Stage::Rows {
        kind: "deliveries",
        delete: "DELETE FROM deliveries WHERE (tenant, id) IN (
            SELECT tenant, id FROM deliveries NOT INDEXED WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Wide {
        kind: "events",
        list: "SELECT id, id, coalesce(length(payload), 0) FROM events WHERE tenant = ?1",
        delete: "DELETE FROM events WHERE tenant = ?1 AND id = ?2 AND id = ?3",
    },
    Stage::Rows {
        kind: "idempotency_keys",
        delete: "DELETE FROM idempotency_keys WHERE (tenant, scope, key) IN (
            SELECT tenant, scope, key FROM idempotency_keys NOT INDEXED WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "endpoints",
        delete: "DELETE FROM endpoints WHERE (tenant, id) IN (
            SELECT tenant, id FROM endpoints NOT INDEXED WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "api_keys",
        delete: "DELETE FROM api_keys WHERE hash IN (SELECT hash FROM api_keys WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "usage_days",
        delete: "DELETE FROM usage_days WHERE (tenant, day) IN (
            SELECT tenant, day FROM usage_days WHERE tenant = ?1 LIMIT ?2)",
    },
    Stage::Rows {
        kind: "data_keys",
        delete: "DELETE FROM data_keys WHERE (tenant, version) IN (
            SELECT tenant, version FROM data_keys WHERE tenant = ?1 LIMIT ?2)",
    },
];

/// Removes on.
pub(super) async fn make(
    store: &SqliteStore,
    job: &Job,
    limit: usize,
    now: Timestamp,
) -> Result<Stepped, Fault> {
    assert!(matches!(job.task, Task::Purge), "only a purge removes");
    match Place::read(&job.place).map_err(|trouble| trouble.into_fault("read"))? {
        Place::Rows(stage) => {
            let bytes_max = store.bounds.bytes_max;
            let work = PurgeBatch { job: job.clone(), stage, limit: limit.max(1), bytes_max, now };
            store.database.write(Weight { items: limit, bytes: 0 }, work).await
        }
        Place::Pages(first) => wipe(store, job, first, now).await,
    }
}

/// The most pages that one step looks at.
const PAGES_WIPED_MAX: u64 = 16_384;

/// Wipes what the rows left behind; behind the last page, lets go of the tenant's id.
async fn wipe(store: &SqliteStore, job: &Job, first: u64, now: Timestamp) -> Result<Stepped, Fault> {
    if first == 0 {
        // What is in the log alone is not seen in the file.
        store.database.cut_log().await?;
    }
    let next = first + PAGES_WIPED_MAX;
    if store.database.wipe(first..next).await? {
        let job = Job { place: Place::Pages(next).bytes(), ..job.clone() };
        let note = move |tx: &mut Tx<'_>| put(tx.conn, job.clone(), now);
        let noted = store.database.change(note, |_| ()).await?;
        return Ok(noted.map_or(Stepped::Stale, |job| Stepped::Made { job, count: 0, is_end: false }));
    }
    let job = job.clone();
    let stepped = store.database.change(move |tx| end(tx, &job, now), |_| ()).await?;
    store.database.cut_log().await?;
    Ok(stepped)
}

/// Where a purge goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// With the rows of this stage.
    Rows(usize),
    /// With the pages of the file, from this one on: no rows are left.
    Pages(u64),
}

impl Place {
    /// Reads the place of a job.
    fn read(bytes: &[u8]) -> Result<Self, Trouble> {
        match bytes {
            [] => Ok(Self::Rows(0)),
            [stage] => Ok(Self::Rows(usize::from(*stage))),
            _ => {
                let page = bytes.try_into().map_err(|error| Trouble::damaged("place of a job", error))?;
                Ok(Self::Pages(u64::from_be_bytes(page)))
            }
        }
    }

    /// The bytes that [`Place::read`] reads.
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Rows(stage) => vec![u8::try_from(stage).expect("there are few stages")],
            Self::Pages(first) => first.to_be_bytes().to_vec(),
        }
    }
}

pub(crate) const OWNER: &str = "SELECT tenant FROM jobs WHERE id = ?1";

/// The number of the tenant that a job removes, which is the job's own: another may have its id by now.
fn owner(conn: &Connection, job: &Job) -> Result<Option<i64>, Trouble> {
    let key = [blob(job.id.number())];
    Ok(conn.prepare_cached(OWNER)?.query_row(key, |row| row.get(0)).optional()?)
}

struct PurgeBatch {
    job: Job,
    stage: usize,
    limit: usize,
    bytes_max: usize,
    now: Timestamp,
}

impl Work for PurgeBatch {
    type Answer = Stepped;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Stepped, Trouble> {
        let Some(tenant) = owner(tx.conn, &self.job)? else { return Ok(Stepped::Stale) };
        if !is_as_read(tx.conn, &self.job)? {
            return Ok(Stepped::Stale);
        }
        let mut removed = self.job.removed.clone();
        let mut stage = self.stage;
        let mut left = self.limit;
        while left > 0
            && let Some(at) = STAGES.get(stage)
        {
            let Deleted { count, is_all } = at.delete(tx.conn, tenant, left, self.bytes_max)?;
            add(&mut removed, at.kind(), count);
            left -= count.min(left);
            if !is_all {
                break;
            }
            stage += 1;
        }
        let place = if stage < STAGES.len() {
            Place::Rows(stage)
        } else {
            tx.conn.prepare_cached(BLANK)?.execute([tenant])?;
            Place::Pages(0)
        };
        let count = self.limit - left;
        let next = Job { removed, place: place.bytes(), ..self.job.clone() };
        let job = put(tx.conn, next, self.now)?.expect("it was seen to be as it was read");
        Ok(Stepped::Made { job, count, is_end: false })
    }
}

/// What remains of the tenant until its id is free.
pub(crate) const BLANK: &str = "UPDATE tenants SET name = '', policy = '{}' WHERE number = ?1";

/// How many rows were deleted, and whether there are no more.
struct Deleted {
    count: usize,
    is_all: bool,
}

impl Stage {
    fn kind(self) -> &'static str {
        match self {
            Self::Rows { kind, .. } | Self::Wide { kind, .. } => kind,
        }
    }

    fn delete(
        self,
        conn: &Connection,
        tenant: i64,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Deleted, Trouble> {
        match self {
            Self::Rows { delete, .. } => {
                let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
                let count = conn.prepare_cached(delete)?.execute((tenant, limit))?;
                Ok(Deleted { count, is_all: count < rows_max })
            }
            Self::Wide { list, delete, .. } => {
                let (ids, is_all) = first_wide(conn, list, tenant, rows_max, bytes_max)?;
                let mut delete = conn.prepare_cached(delete)?;
                for (first, second) in &ids {
                    delete.execute((tenant, first, second))?;
                }
                Ok(Deleted { count: ids.len(), is_all })
            }
        }
    }
}

/// The ids of a wide row.
type WideKey = ([u8; 16], [u8; 16]);

/// The first wide rows, as many as the bytes allow but one at least, and whether they are all.
fn first_wide(
    conn: &Connection,
    list: &str,
    tenant: i64,
    rows_max: usize,
    bytes_max: usize,
) -> Result<(Vec<WideKey>, bool), Trouble> {
    let mut query = conn.prepare_cached(list)?;
    let mut rows = query.query([tenant])?;
    let (mut ids, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if ids.len() >= rows_max || (bytes >= bytes_max && !ids.is_empty()) {
            return Ok((ids, false));
        }
        bytes += row.get::<_, usize>(2)?;
        ids.push((row.get(0)?, row.get(1)?));
    }
    Ok((ids, true))
}

fn add(removed: &mut Removed, kind: &str, count: usize) {
    if count > 0 {
        *removed.entry(kind.to_owned()).or_insert(0) += count as u64;
    }
}

/// Removes the tenant itself: its id is free.
fn end(tx: &mut Tx<'_>, job: &Job, now: Timestamp) -> Result<Stepped, Trouble> {
    let Some(tenant) = owner(tx.conn, job)? else { return Ok(Stepped::Stale) };
    if !is_as_read(tx.conn, job)? {
        return Ok(Stepped::Stale);
    }
    tx.conn.prepare_cached("DELETE FROM tenants WHERE number = ?1")?.execute([tenant])?;
    // What the writer remembers of it was forgotten when it was deleted; a batch since then may have looked.
    tx.memory.forget();
    let next = Job { status: JobStatus::Done, ..job.clone() };
    let job = put(tx.conn, next, now)?.expect("it was seen to be as it was read");
    Ok(Stepped::Made { job, count: 1, is_end: true })
}
