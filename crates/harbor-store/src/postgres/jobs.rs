//! Jobs: how they stand, and their steps, each one transaction.
//!
//! A step locks the job's row first, and only where it still has the version that the step was planned on:
//! of two who plan the same step, one makes it.

mod cancel;
mod candidates;
mod purge;
mod replay;

use async_trait::async_trait;
use harbor_model::id::{DeliveryId, JobId, TenantId};
use harbor_model::job::{Job, JobCounts, JobKind, JobStatus, ReplayTask, Task};
use harbor_model::port::Fault;
use harbor_model::port::directory::Directory;
use harbor_model::port::jobs::{
    JobCancelled, JobCreated, JobNote, JobSteps, Jobs, NewJob, Outcomes, Stepped,
};
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::claims::{Held, Scope};
use crate::jobs::{removed_from_json, removed_to_json, task_from_json, task_to_json};
use crate::pages::{IdRange, Seen};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, Tx, retried};
use crate::postgres::pages::List;
use crate::postgres::registry::{find_tenant_number, lock_tenant};
use crate::postgres::replay::Claim;
use crate::postgres::rows::{bigint, named, number, parsed, time, value, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

pub(crate) use candidates::END as END_OF_WALK;

#[cfg(test)]
pub(crate) use cancel::all_sql as cancel_candidates_sql;
#[cfg(test)]
pub(crate) use candidates::{COUNT_REPLAYABLE, all_sql as candidates_sql};
#[cfg(test)]
pub(crate) use purge::{all_sql as purge_sql, tables as purged_tables};
#[cfg(test)]
pub(crate) use replay::{INSERT, LOCK_ORIGINALS, LOOK, MARK_REPLAYED};

#[async_trait]
impl Jobs for PostgresStore {
    async fn create_job(&self, job: NewJob, open_max: usize) -> Result<JobCreated, Fault> {
        retried("create a job", async || {
            let tx = self.database.begin().await?;
            let created = create(&tx, &job, open_max).await?;
            // A refusal is not committed: the key that it claimed is free again.
            if matches!(created, JobCreated::Done(_)) {
                tx.commit().await?;
            }
            Ok(created)
        })
        .await
    }

    async fn find_job(&self, tenant: Option<&TenantId>, id: JobId) -> Result<Option<Job>, Fault> {
        retried("find a job", async || {
            let link = self.database.browse().await?;
            let Some(tenant_id) = tenant else { return find(&link, id).await };
            let Some(number) = find_tenant_number(&link, tenant_id).await? else { return Ok(None) };
            find_of_tenant(&link, number, id).await
        })
        .await
    }

    async fn jobs(
        &self,
        tenant: Option<&TenantId>,
        kinds: &[JobKind],
        ask: PageAsk,
    ) -> Result<Page<Job>, Fault> {
        retried("list jobs", async || {
            let link = self.database.browse().await?;
            let number = match tenant {
                None => None,
                Some(tenant_id) => match find_tenant_number(&link, tenant_id).await? {
                    Some(number) => Some(number),
                    None => return Ok(Page { items: Vec::new(), next: None }),
                },
            };
            let list = List {
                sql: &list_sql(number.is_some()),
                tenant: &number,
                range: IdRange::new(ask.after, None, None),
                narrowed_by: &[],
                limit: ask.limit,
            };
            list.page(&link, |row| {
                let found = job(row)?;
                let position = found.id.number();
                Ok(Seen { position, item: Some(found).filter(|found| kinds.contains(&found.task.kind())) })
            })
            .await
        })
        .await
    }

    async fn cancel_job(&self, tenant: &TenantId, id: JobId, now: Timestamp) -> Result<JobCancelled, Fault> {
        retried("cancel a job", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else {
                return Ok(JobCancelled::Missing);
            };
            let asked: [&(dyn ToSql + Sync); 3] = [&Uuid(id.number()), &number, &now.unix_ms()];
            if let Some(row) = link.query_opt(&cancel_sql(), &asked).await? {
                return Ok(JobCancelled::Done(job(&row)?));
            }
            let found = find_of_tenant(&link, number, id).await?;
            Ok(found.map_or(JobCancelled::Missing, |found| JobCancelled::Final(found.status)))
        })
        .await
    }
}

#[async_trait]
impl JobSteps for PostgresStore {
    async fn open_jobs(&self, limit: usize) -> Result<Vec<Job>, Fault> {
        retried("list open jobs", async || {
            let link = self.database.browse().await?;
            link.query(&open_sql(), &[&bigint(limit)]).await?.iter().map(job).collect()
        })
        .await
    }

    async fn count_matches(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        let task = replay_task(job);
        retried("count what a job matches", async || {
            let tx = self.database.begin().await?;
            let Some(tenant) = lock(&tx, job).await? else { return Ok(Stepped::Stale) };
            let step = candidates::count(&tx, tenant, job, &task.selection, limit).await?;
            noted(tx, step, now).await
        })
        .await
    }

    async fn replay_batch(&self, job: &Job, ids: Vec<DeliveryId>, now: Timestamp) -> Result<Stepped, Fault> {
        let task = replay_task(job);
        let directory = Directory::tenant(self, &job.tenant_id).await?;
        let stepped = retried("replay what a job matches", async || {
            let tx = self.database.begin().await?;
            let Some(tenant) = lock(&tx, job).await? else { return Ok(Stepped::Stale) };
            let batch = replay::Batch { tx: &tx, tenant, job, task, directory: directory.as_deref(), now };
            let step = batch.run(&ids).await?;
            noted(tx, step, now).await
        })
        .await?;
        if matches!(stepped, Stepped::Made { count, .. } if count > 0) {
            self.hints.signal();
        }
        Ok(stepped)
    }

    async fn cancel_batch(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        let Task::Cancel(filter) = &job.task else { unreachable!("only a job that cancels is stepped so") };
        self.leases.settled().await;
        let stepped = retried("cancel what a job matches", async || {
            let tx = self.database.begin().await?;
            let Some(tenant) = lock(&tx, job).await? else { return Ok(Stepped::Stale) };
            let batch = cancel::Batch { tx: &tx, rng: &*self.rng, tenant, job, filter, now };
            let step = batch.run(limit).await?;
            noted(tx, step, now).await
        })
        .await?;
        // The next ones of their lanes may be due.
        if matches!(stepped, Stepped::Made { count, .. } if count > 0) {
            self.hints.signal();
        }
        Ok(stepped)
    }

    async fn purge_batch(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        assert_eq!(job.task, Task::Purge, "only a job that purges is stepped so");
        retried("purge a tenant", async || {
            let tx = self.database.begin().await?;
            let Some(tenant) = lock(&tx, job).await? else { return Ok(Stepped::Stale) };
            let step = purge::batch(&tx, tenant, job, limit).await?;
            noted(tx, step, now).await
        })
        .await
    }

    async fn outcomes(&self, job: &Job) -> Result<Outcomes, Fault> {
        retried("count what became of replays", async || {
            let link = self.database.browse().await?;
            let Some(tenant) = find_tenant_number(&link, &job.tenant_id).await? else {
                return Ok(Outcomes::default());
            };
            let row = link.query_opt(OUTCOMES, &[&tenant, &Uuid(job.id.number())]).await?;
            let row = row.expect("an aggregate has one row");
            Ok(Outcomes {
                open: whole(&row, 0, "count of replays")?,
                delivered: whole(&row, 1, "count of replays")?,
                failed: whole(&row, 2, "count of replays")?,
            })
        })
        .await
    }

    async fn note_job(&self, job: &Job, note: JobNote, now: Timestamp) -> Result<Option<Job>, Fault> {
        let JobNote { status, counts, error } = note;
        let next = Job { status, counts, error, ..job.clone() };
        retried("note how a job stands", async || {
            let tx = self.database.begin().await?;
            if lock(&tx, job).await?.is_none() {
                return Ok(None);
            }
            let noted = write(&tx, &next, now).await?;
            tx.commit().await?;
            Ok(Some(noted))
        })
        .await
    }

    async fn forget_jobs(&self, before: Timestamp, limit: usize) -> Result<usize, Fault> {
        let forgotten = retried("forget jobs", async || {
            let link = self.database.browse().await?;
            link.execute(FORGET, &[&before.unix_ms(), &bigint(limit)]).await
        })
        .await?;
        Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
    }
}

fn replay_task(job: &Job) -> &ReplayTask {
    let Task::Replay(task) = &job.task else { unreachable!("only a job that replays is stepped so") };
    task
}

/// The columns that [`job`] reads, in its order.
const COLUMNS: &str = "id, tenant_id, kind, status, request, place, version, matched_count, queued_count, \
     succeeded_count, failed_count, removed, error, created_at, updated_at";

fn job(row: &Row) -> Result<Job, Trouble> {
    let kind = named(row, 2, "kind of a job", JobKind::from_name)?;
    let count = |column| whole(row, column, "count of a job");
    Ok(Job {
        id: JobId::from_number(number(row, 0)?),
        tenant_id: parsed(row, 1, "tenant id")?,
        task: task_from_json(kind, value(row, 4)?).map_err(|error| Trouble::damaged("job", error))?,
        status: named(row, 3, "status of a job", JobStatus::from_name)?,
        counts: JobCounts { matched: count(7)?, queued: count(8)?, succeeded: count(9)?, failed: count(10)? },
        removed: removed_from_json(value(row, 11)?).map_err(|error| Trouble::damaged("job", error))?,
        error: value(row, 12)?,
        place: value(row, 5)?,
        version: whole(row, 6, "version")?,
        created_at: time(row, 13)?,
        updated_at: time(row, 14)?,
    })
}

async fn find(link: &Link, id: JobId) -> Result<Option<Job>, Trouble> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = $1");
    link.query_opt(&sql, &[&Uuid(id.number())]).await?.map(|row| job(&row)).transpose()
}

async fn find_of_tenant(link: &Link, tenant: i64, id: JobId) -> Result<Option<Job>, Trouble> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = $1 AND tenant = $2");
    link.query_opt(&sql, &[&Uuid(id.number()), &tenant]).await?.map(|row| job(&row)).transpose()
}

/// The list of the jobs of the tenant `$1`; of all jobs, where it is nobody.
pub(crate) fn list_sql(is_of_tenant: bool) -> String {
    let of_tenant = if is_of_tenant { "tenant = $1" } else { "$1::bigint IS NULL" };
    format!("SELECT {COLUMNS} FROM jobs WHERE {of_tenant} AND id BETWEEN $2 AND $3 ORDER BY id DESC LIMIT $4")
}

pub(crate) fn open_sql() -> String {
    format!("SELECT {COLUMNS} FROM jobs WHERE status IN ('pending', 'running') ORDER BY id LIMIT $1")
}

pub(crate) fn cancel_sql() -> String {
    format!(
        "UPDATE jobs SET status = 'cancelled', version = version + 1, updated_at = $3
         WHERE id = $1 AND tenant = $2 AND status IN ('pending', 'running') RETURNING {COLUMNS}"
    )
}

pub(crate) const OUTCOMES: &str = "SELECT
    (SELECT count(*) FROM open_deliveries AS d WHERE d.tenant = $1 AND d.replay_job = $2),
    (SELECT count(*) FROM deliveries_done AS d
     WHERE d.tenant = $1 AND d.replay_job = $2 AND d.status = 'delivered'),
    (SELECT count(*) FROM deliveries_done AS d
     WHERE d.tenant = $1 AND d.replay_job = $2 AND d.status IN ('dead', 'cancelled'))";

pub(crate) const FORGET: &str = "DELETE FROM jobs WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM jobs WHERE status NOT IN ('pending', 'running') AND updated_at < $1
    ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

async fn create(tx: &Tx, new: &NewJob, open_max: usize) -> Result<JobCreated, Trouble> {
    let NewJob { job, idempotency } = new;
    let Some(tenant) = find_tenant_number(tx, &job.tenant_id).await? else {
        return Ok(JobCreated::NoTenant);
    };
    // First of all: who asks the same at the same time waits here until this one is committed, or not.
    if let Some((key, fingerprint, expires_at)) = idempotency {
        let claim = Claim {
            scope: Scope::Job,
            key,
            made: job.id.number(),
            fingerprint,
            expires_at: *expires_at,
            now: job.created_at,
        };
        match claim.take(tx, tenant).await? {
            None => {}
            Some(Held::Other) => return Ok(JobCreated::KeyReused),
            Some(Held::Same { made, .. }) => {
                if let Some(first) = find_of_tenant(tx, tenant, JobId::from_number(made)).await? {
                    return Ok(JobCreated::Done(first));
                }
                // The first one is forgotten already.
                claim.take_over(tx, tenant).await?;
            }
        }
    }
    // Of the tenant's jobs one is made after the other, so that they can be counted.
    let Some(tenant) = lock_tenant(tx, &job.tenant_id).await? else { return Ok(JobCreated::NoTenant) };
    let count = "SELECT count(*) FROM jobs WHERE tenant = $1 AND status IN ('pending', 'running')";
    let row = tx.query_opt(count, &[&tenant]).await?.expect("an aggregate has one row");
    if whole::<usize>(&row, 0, "count of jobs")? >= open_max {
        return Ok(JobCreated::TooMany);
    }
    insert(tx, tenant, job).await?;
    Ok(JobCreated::Done(job.clone()))
}

/// Adds a job to those of a tenant.
pub(crate) async fn insert(tx: &Tx, tenant: i64, job: &Job) -> Result<(), Trouble> {
    let sql = "INSERT INTO jobs (
            id, tenant, tenant_id, kind, status, request, place, version, matched_count, queued_count,
            succeeded_count, failed_count, removed, error, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let counts = &job.counts;
    tx.execute(
        sql,
        &[
            &Uuid(job.id.number()),
            &tenant,
            &job.tenant_id.as_str(),
            &job.task.kind().as_str(),
            &job.status.as_str(),
            &task_to_json(&job.task),
            &job.place,
            &bigint(job.version),
            &bigint(counts.matched),
            &bigint(counts.queued),
            &bigint(counts.succeeded),
            &bigint(counts.failed),
            &removed_to_json(&job.removed),
            &job.error,
            &job.created_at.unix_ms(),
            &job.updated_at.unix_ms(),
        ],
    )
    .await?;
    Ok(())
}

/// Stops all jobs of a tenant that are open: it is being deleted.
pub(crate) async fn cancel_all(tx: &Tx, tenant: i64, now: Timestamp) -> Result<(), Trouble> {
    let sql = "UPDATE jobs SET status = 'cancelled', version = version + 1, updated_at = $2
               WHERE tenant = $1 AND status IN ('pending', 'running')";
    tx.execute(sql, &[&tenant, &now.unix_ms()]).await?;
    Ok(())
}

pub(crate) const LOCK: &str = "SELECT tenant FROM jobs
    WHERE id = $1 AND version = $2 AND status IN ('pending', 'running') FOR UPDATE";

/// Takes a job for a step, if it is open and as it was read; answers its tenant's number.
async fn lock(tx: &Tx, job: &Job) -> Result<Option<i64>, Trouble> {
    let found = tx.query_opt(LOCK, &[&Uuid(job.id.number()), &bigint(job.version)]).await?;
    found.map(|row| value(&row, 0)).transpose()
}

/// What a step made of a job.
struct Step {
    /// The job after it; its version and time apart.
    job: Job,
    count: usize,
    is_end: bool,
}

/// Ends the transaction of a step with what it made of the job.
async fn noted(tx: Tx, step: Step, now: Timestamp) -> Result<Stepped, Trouble> {
    let Step { job, count, is_end } = step;
    let job = write(&tx, &job, now).await?;
    tx.commit().await?;
    Ok(Stepped::Made { job, count, is_end })
}

pub(crate) const WRITE: &str = "UPDATE jobs SET
        status = $2, place = $3, version = $4, matched_count = $5, queued_count = $6, succeeded_count = $7,
        failed_count = $8, removed = $9, error = $10, updated_at = $11
    WHERE id = $1";

/// Writes how a locked job stands; answers it with its next version.
async fn write(tx: &Tx, job: &Job, now: Timestamp) -> Result<Job, Trouble> {
    let next = Job { version: job.version + 1, updated_at: now, ..job.clone() };
    let counts = &next.counts;
    tx.execute(
        WRITE,
        &[
            &Uuid(next.id.number()),
            &next.status.as_str(),
            &next.place,
            &bigint(next.version),
            &bigint(counts.matched),
            &bigint(counts.queued),
            &bigint(counts.succeeded),
            &bigint(counts.failed),
            &removed_to_json(&next.removed),
            &next.error,
            &next.updated_at.unix_ms(),
        ],
    )
    .await?;
    Ok(next)
}
