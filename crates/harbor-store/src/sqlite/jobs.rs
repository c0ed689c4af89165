//! Jobs: their rows. What the steps do is in the modules below.
//!
//! A step looks for what it deals with in a read of its own, which holds up nobody, and makes the change in one
//! transaction, only where the job has not changed since it was read.

pub(crate) mod replay;

pub(crate) mod cancel;

pub(crate) mod purge;

pub(crate) mod place;

use std::time::Duration;

use async_trait::async_trait;
use harbor_model::id::{DeliveryId, JobId, TenantId};
use harbor_model::job::{Job, JobCounts, JobKind, JobStatus};
use harbor_model::port::Fault;
use harbor_model::port::jobs::{
    JobCancelled, JobCreated, JobNote, JobSteps, Jobs, NewJob, Outcomes, Stepped,
};
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::claims::{Held, Scope};
use crate::jobs::{removed_from_json, removed_to_json, task_from_json, task_to_json};
use crate::pages::{IdRange, Seen};
use crate::sqlite::SqliteStore;
use crate::sqlite::claims::{self, Claim};
use crate::sqlite::pages::page;
use crate::sqlite::rows::{blob, named, number, parsed, time, value};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;

/// After so long a step looks no further, well before the read would be cut.
pub(crate) const LOOK_MAX: Duration = Duration::from_millis(200);

#[async_trait]
impl Jobs for SqliteStore {
    async fn create_job(&self, new: NewJob, open_max: usize) -> Result<JobCreated, Fault> {
        let tenant_id = new.job.tenant_id.clone();
        self.database.change_of(tenant_id, move |tx| create(tx, &new, open_max)).await
    }

    async fn find_job(&self, tenant: Option<&TenantId>, id: JobId) -> Result<Option<Job>, Fault> {
        let tenant = tenant.cloned();
        let find = move |conn: &Connection| match tenant {
            Some(tenant) => match find_tenant_number(conn, &tenant)? {
                Some(number) => find(conn, id, Some(number)),
                None => Ok(None),
            },
            None => find(conn, id, None),
        };
        self.database.browse(find).await
    }

    async fn jobs(
        &self,
        tenant: Option<&TenantId>,
        kinds: &[JobKind],
        ask: PageAsk,
    ) -> Result<Page<Job>, Fault> {
        let (tenant, kinds) = (tenant.cloned(), kinds.to_vec());
        let list = move |conn: &Connection| match tenant {
            Some(tenant) => match find_tenant_number(conn, &tenant)? {
                Some(number) => list(conn, Some(number), &kinds, ask),
                None => Ok(Page { items: Vec::new(), next: None }),
            },
            None => list(conn, None, &kinds, ask),
        };
        self.database.browse(list).await
    }

    async fn cancel_job(&self, tenant: &TenantId, id: JobId, now: Timestamp) -> Result<JobCancelled, Fault> {
        let tenant_id = tenant.clone();
        let stop = move |tx: &mut Tx<'_>| {
            let Some(tenant) = tx.tenant(&tenant_id)? else { return Ok(JobCancelled::Missing) };
            let Some(job) = find(tx.conn, id, Some(tenant.number))? else { return Ok(JobCancelled::Missing) };
            if job.status.is_final() {
                return Ok(JobCancelled::Final(job.status));
            }
            let stopped = put(tx.conn, Job { status: JobStatus::Cancelled, ..job }, now)?;
            Ok(JobCancelled::Done(stopped.expect("it was read in this transaction")))
        };
        self.database.change_of(tenant.clone(), stop).await
    }
}

#[async_trait]
impl JobSteps for SqliteStore {
    async fn open_jobs(&self, limit: usize) -> Result<Vec<Job>, Fault> {
        self.database.browse(move |conn| open(conn, limit)).await
    }

    async fn count_matches(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        replay::count(self, job, limit, now).await
    }

    async fn replay_batch(&self, job: &Job, ids: Vec<DeliveryId>, now: Timestamp) -> Result<Stepped, Fault> {
        replay::make(self, job, ids, now).await
    }

    async fn cancel_batch(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        cancel::make(self, job, limit, now).await
    }

    async fn purge_batch(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        purge::make(self, job, limit, now).await
    }

    async fn outcomes(&self, job: &Job) -> Result<Outcomes, Fault> {
        replay::outcomes(self, job).await
    }

    async fn note_job(&self, job: &Job, note: JobNote, now: Timestamp) -> Result<Option<Job>, Fault> {
        let JobNote { status, counts, error } = note;
        let next = Job { status, counts, error, ..job.clone() };
        self.database.change(move |tx| put(tx.conn, next.clone(), now), |_| ()).await
    }

    async fn forget_jobs(&self, before: Timestamp, limit: usize) -> Result<usize, Fault> {
        let forget = move |tx: &mut Tx<'_>| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            Ok(tx.conn.prepare_cached(FORGET)?.execute((before.unix_ms(), limit))?)
        };
        self.database.change(forget, |_| ()).await
    }
}

pub(crate) const COUNT_OPEN: &str = "SELECT count(*) FROM jobs INDEXED BY jobs_open_of_tenant
    WHERE tenant = ?1 AND status IN ('pending', 'running')";

fn create(tx: &mut Tx<'_>, new: &NewJob, open_max: usize) -> Result<JobCreated, Trouble> {
    let NewJob { job, idempotency } = new;
    let Some(tenant) = tx.tenant(&job.tenant_id)? else { return Ok(JobCreated::NoTenant) };
    let claim = idempotency.as_ref().map(|(key, fingerprint, expires_at)| Claim {
        tenant: tenant.number,
        scope: Scope::Job,
        key,
        fingerprint: *fingerprint,
        expires_at: *expires_at,
        slides: false,
    });
    if let Some(claim) = &claim {
        match claims::find(tx, claim, job.created_at)? {
            Some(Held::Same { made, .. }) => {
                if let Some(first) = find(tx.conn, JobId::from_number(made), Some(tenant.number))? {
                    return Ok(JobCreated::Done(first));
                }
                // That job is forgotten, and with it what the key stood for.
                claims::release(tx, claim)?;
            }
            Some(Held::Other) => return Ok(JobCreated::KeyReused),
            None => {}
        }
    }
    let open: usize = tx.conn.prepare_cached(COUNT_OPEN)?.query_row([tenant.number], |row| row.get(0))?;
    if open >= open_max {
        return Ok(JobCreated::TooMany);
    }
    if let Some(claim) = &claim {
        let is_taken = claims::take(tx, claim, job.id.number(), 0, job.created_at)?;
        assert!(is_taken, "the key was seen to be free in this transaction");
    }
    insert(tx.conn, tenant.number, job)?;
    Ok(JobCreated::Done(job.clone()))
}

const INSERT: &str = "INSERT INTO jobs (
        id, tenant, tenant_id, kind, status, request, place, version, matched_count, queued_count,
        succeeded_count, failed_count, removed, error, created_at, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// Adds a job of the tenant with this number.
pub(crate) fn insert(conn: &Connection, tenant: i64, job: &Job) -> Result<(), Trouble> {
    conn.prepare_cached(INSERT)?.execute((
        blob(job.id.number()),
        tenant,
        job.tenant_id.as_str(),
        job.task.kind().as_str(),
        job.status.as_str(),
        task_to_json(&job.task),
        &job.place,
        job.version,
        job.counts.matched,
        job.counts.queued,
        job.counts.succeeded,
        job.counts.failed,
        removed_to_json(&job.removed),
        job.error.as_deref(),
        job.created_at.unix_ms(),
        job.updated_at.unix_ms(),
    ))?;
    Ok(())
}

pub(crate) const PUT: &str = "UPDATE jobs
    SET status = ?3, place = ?4, version = version + 1, matched_count = ?5, queued_count = ?6,
        succeeded_count = ?7, failed_count = ?8, removed = ?9, error = ?10, updated_at = ?11
    WHERE id = ?1 AND version = ?2 AND status IN ('pending', 'running')";

/// Puts a job in place of the one that has its id and its version and has not ended, with the next version.
/// None where there is no such one.
pub(crate) fn put(conn: &Connection, job: Job, now: Timestamp) -> Result<Option<Job>, Trouble> {
    let put = conn.prepare_cached(PUT)?.execute((
        blob(job.id.number()),
        job.version,
        job.status.as_str(),
        &job.place,
        job.counts.matched,
        job.counts.queued,
        job.counts.succeeded,
        job.counts.failed,
        removed_to_json(&job.removed),
        job.error.as_deref(),
        now.unix_ms(),
    ))?;
    Ok((put == 1).then(|| Job { version: job.version + 1, updated_at: now, ..job }))
}

/// The columns that [`read_job`] reads, in its order.
const COLUMNS: &str = "id, tenant_id, kind, status, request, place, version, matched_count, queued_count, \
     succeeded_count, failed_count, removed, error, created_at, updated_at";

fn read_job(row: &Row<'_>) -> Result<Job, Trouble> {
    let kind = named(row, 2, "kind of job", JobKind::from_name)?;
    let (request, removed): (String, String) = (value(row, 4)?, value(row, 11)?);
    Ok(Job {
        id: JobId::from_number(number(row, 0)?),
        tenant_id: parsed(row, 1, "tenant id")?,
        task: task_from_json(kind, &request).map_err(|error| Trouble::damaged("job", error))?,
        status: named(row, 3, "status of a job", JobStatus::from_name)?,
        counts: JobCounts {
            matched: value(row, 7)?,
            queued: value(row, 8)?,
            succeeded: value(row, 9)?,
            failed: value(row, 10)?,
        },
        removed: removed_from_json(&removed).map_err(|error| Trouble::damaged("job", error))?,
        error: value(row, 12)?,
        place: value(row, 5)?,
        version: value(row, 6)?,
        created_at: time(row, 13)?,
        updated_at: time(row, 14)?,
    })
}

/// Finds a job of this tenant, or of any.
fn find(conn: &Connection, id: JobId, tenant: Option<i64>) -> Result<Option<Job>, Trouble> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1 AND (?2 IS NULL OR tenant = ?2)");
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query((blob(id.number()), tenant))?;
    rows.next()?.map(read_job).transpose()
}

/// The query of jobs, newest first, between two ids: of all, or of the tenant `?3`.
pub(crate) fn list_sql(is_of_tenant: bool) -> String {
    let (by, condition) = match is_of_tenant {
        true => ("INDEXED BY jobs_by_tenant", "tenant = ?3"),
        false => ("NOT INDEXED", "?3 IS NULL"),
    };
    format!("SELECT {COLUMNS} FROM jobs {by} WHERE id BETWEEN ?1 AND ?2 AND {condition} ORDER BY id DESC")
}

fn list(
    conn: &Connection,
    tenant: Option<i64>,
    kinds: &[JobKind],
    ask: PageAsk,
) -> Result<Page<Job>, Trouble> {
    let range = IdRange::new(ask.after, None, None);
    if range.is_empty() {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let (first, last) = range.ends();
    let mut query = conn.prepare_cached(&list_sql(tenant.is_some()))?;
    page(query.query((blob(first), blob(last), tenant))?, ask.limit, |row| {
        let job = read_job(row)?;
        Ok(Seen { position: job.id.number(), item: Some(job).filter(|job| kinds.contains(&job.task.kind())) })
    })
}

/// The query of the jobs that are open, oldest first.
pub(crate) fn open_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM jobs INDEXED BY jobs_open WHERE status IN ('pending', 'running')
         ORDER BY id LIMIT ?1"
    )
}

fn open(conn: &Connection, limit: usize) -> Result<Vec<Job>, Trouble> {
    let mut query = conn.prepare_cached(&open_sql())?;
    let mut rows = query.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(read_job(row)?);
    }
    Ok(jobs)
}

pub(crate) const FORGET: &str = "DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs INDEXED BY jobs_ended
        WHERE updated_at < ?1 AND status NOT IN ('pending', 'running') ORDER BY updated_at LIMIT ?2)";

/// The version of a job that has not ended; a step that was planned on it can be made.
pub(crate) fn is_as_read(conn: &Connection, job: &Job) -> Result<bool, Trouble> {
    let sql = "SELECT version FROM jobs WHERE id = ?1 AND status IN ('pending', 'running')";
    let stored: Option<u64> =
        conn.prepare_cached(sql)?.query_row([blob(job.id.number())], |row| row.get(0)).optional()?;
    Ok(stored == Some(job.version))
}
