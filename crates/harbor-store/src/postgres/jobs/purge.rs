//! Removes everything of a tenant that was deleted, table by table, a little at a time.
//!
//! A transaction that began before the tenant was deleted may still write something of it, and a week that is
//! being replaced may be copied with what is gone from it by now. So the last step is made only when all of
//! those have ended, and looks through every table once more.

use harbor_model::job::{Job, JobStatus};
use tokio_postgres::types::ToSql;

use crate::postgres::database::Tx;
use crate::postgres::jobs::Step;
use crate::postgres::rows::{bigint, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;
use crate::postgres::weeks;

/// How rows of a table are found.
#[derive(Clone, Copy, Debug)]
enum Rows {
    /// In the order of this column, which follows the tenant in the table's key. The tables that grow.
    InOrderOf(&'static str),
    /// By the tenant alone.
    OfTenant,
}

/// The tables with rows of tenants, and what their rows are in the report.
const TABLES: [(&str, &str, Rows); 18] = [
    ("leases", "leases", Rows::InOrderOf("delivery_id")),
    ("attempts", "attempts", Rows::InOrderOf("delivery_id")),
    ("open_deliveries", "deliveries", Rows::InOrderOf("id")),
    ("deliveries_done", "deliveries", Rows::InOrderOf("id")),
    ("events", "events", Rows::InOrderOf("id")),
    ("idempotency_keys", "idempotency_keys", Rows::OfTenant),
    ("lanes", "lanes", Rows::OfTenant),
    ("breakers", "breakers", Rows::OfTenant),
    ("failing_endpoints", "failing_endpoints", Rows::OfTenant),
    ("notices", "notices", Rows::OfTenant),
    ("usage_days", "usage_days", Rows::OfTenant),
    ("subscriptions", "subscriptions", Rows::OfTenant),
    ("sources", "sources", Rows::OfTenant),
    ("rejections", "rejections", Rows::OfTenant),
    ("endpoints", "endpoints", Rows::OfTenant),
    ("api_keys", "api_keys", Rows::OfTenant),
    ("jobs", "jobs", Rows::OfTenant),
    ("data_keys", "data_keys", Rows::OfTenant),
];

/// Where a purge stands: since when, by the database's clock; at which table, and behind which id there.
#[derive(Clone, Copy, Debug)]
struct Place {
    begun_us: i64,
    round: u8,
    table: usize,
    behind: u128,
}

impl Place {
    async fn of(tx: &Tx, job: &Job) -> Result<Self, Trouble> {
        let damaged = || Trouble::damaged("place of a job", format!("{:?}", job.place));
        if job.place.is_empty() {
            let row = tx.query_opt("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", &[]);
            let row = row.await?.expect("a function answers with one row");
            return Ok(Self { begun_us: value(&row, 0)?, round: 1, table: 0, behind: 0 });
        }
        let bytes: [u8; 26] = job.place.as_slice().try_into().map_err(|_| damaged())?;
        let (begun, rest) = bytes.split_first_chunk::<8>().expect("8 of 26");
        let ([round, table], behind) = rest.split_first_chunk::<2>().expect("2 of 18");
        let behind: [u8; 16] = behind.try_into().expect("16 of 16");
        let table = usize::from(*table);
        if table > TABLES.len() {
            return Err(damaged());
        }
        let begun_us = i64::from_be_bytes(*begun);
        Ok(Self { begun_us, round: *round, table, behind: u128::from_be_bytes(behind) })
    }

    fn to_bytes(self) -> Vec<u8> {
        let table = u8::try_from(self.table).expect("there are few tables");
        [&self.begun_us.to_be_bytes()[..], &[self.round, table], &self.behind.to_be_bytes()].concat()
    }
}

/// Removes about `limit` rows; and the tenant, once nothing else is left.
pub(super) async fn batch(tx: &Tx, tenant: i64, job: &Job, limit: usize) -> Result<Step, Trouble> {
    let mut place = Place::of(tx, job).await?;
    let mut next = job.clone();
    let mut count = 0;
    let mut is_end = false;
    while count < limit {
        let Some((table, kind, rows)) = TABLES.get(place.table).copied() else {
            if place.round == 1 {
                if !has_outlived_all(tx, place.begun_us).await? || weeks::is_copying(tx).await? {
                    break;
                }
                place = Place { round: 2, table: 0, behind: 0, ..place };
                continue;
            }
            tx.execute("DELETE FROM week_changes WHERE tenant = $1", &[&tenant]).await?;
            tx.execute("DELETE FROM tenants WHERE number = $1", &[&tenant]).await?;
            next.status = JobStatus::Done;
            is_end = true;
            break;
        };
        let removed = match rows {
            Rows::InOrderOf(column) => {
                remove_in_order(tx, table, column, tenant, &mut place, limit - count).await?
            }
            Rows::OfTenant => remove_of_tenant(tx, table, tenant, job, &mut place, limit - count).await?,
        };
        if removed > 0 {
            *next.removed.entry(kind.to_owned()).or_default() += removed;
        }
        count += usize::try_from(removed).unwrap_or(usize::MAX);
    }
    next.place = place.to_bytes();
    Ok(Step { job: next, count, is_end })
}

const OUTLIVED: &str = "SELECT NOT EXISTS (
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND xact_start < to_timestamp($1::bigint / 1000000.0)
      AND xact_start > to_timestamp($1::bigint / 1000000.0) - interval '5 minutes')";

/// Whether every transaction of ours has ended that may not have seen that the tenant is deleted. None of
/// ours takes minutes.
async fn has_outlived_all(tx: &Tx, begun_us: i64) -> Result<bool, Trouble> {
    let row = tx.query_opt(OUTLIVED, &[&begun_us]).await?;
    value(&row.expect("an expression has one value"), 0)
}

fn last_sql(table: &str, column: &str) -> String {
    format!(
        "SELECT {column} FROM {table} WHERE tenant = $1 AND {column} > $2 ORDER BY {column} OFFSET $3 LIMIT 1"
    )
}

fn remove_sql(table: &str, column: &str) -> String {
    format!("DELETE FROM {table} WHERE tenant = $1 AND {column} > $2 AND {column} <= $3")
}

/// Removes a stretch of rows, and moves the place behind it: where many vanished, the index leads through
/// what is left of them.
async fn remove_in_order(
    tx: &Tx,
    table: &str,
    column: &str,
    tenant: i64,
    place: &mut Place,
    limit: usize,
) -> Result<u64, Trouble> {
    let behind = Uuid(place.behind);
    let offset = bigint(limit.saturating_sub(1));
    let last = tx.query_opt(&last_sql(table, column), &[&tenant, &behind, &offset]).await?;
    let until: Uuid = match &last {
        Some(row) => value(row, 0)?,
        None => Uuid(u128::MAX),
    };
    let removed = tx.execute(&remove_sql(table, column), &[&tenant, &behind, &until]).await?;
    *place = match last {
        Some(_) => Place { behind: until.0, ..*place },
        None => Place { table: place.table + 1, behind: 0, ..*place },
    };
    Ok(removed)
}

fn remove_of_tenant_sql(table: &str) -> String {
    // The job that purges outlives its tenant.
    let but = if table == "jobs" { "AND id <> $3" } else { "" };
    format!(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE tenant = $1 {but} LIMIT $2))"
    )
}

async fn remove_of_tenant(
    tx: &Tx,
    table: &str,
    tenant: i64,
    job: &Job,
    place: &mut Place,
    limit: usize,
) -> Result<u64, Trouble> {
    let (limit, id) = (bigint(limit), Uuid(job.id.number()));
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &limit];
    if table == "jobs" {
        parameters.push(&id);
    }
    let removed = tx.execute(&remove_of_tenant_sql(table), &parameters).await?;
    if bigint(removed) < limit {
        place.table += 1;
    }
    Ok(removed)
}

/// The tables that a purge goes through.
#[cfg(test)]
pub(crate) fn tables() -> Vec<&'static str> {
    TABLES.iter().map(|(table, _, _)| *table).collect()
}

/// Every statement of a purge.
#[cfg(test)]
pub(crate) fn all_sql() -> Vec<String> {
    let of_table = |(table, _, rows): (&str, &str, Rows)| match rows {
        Rows::InOrderOf(column) => vec![last_sql(table, column), remove_sql(table, column)],
        Rows::OfTenant => vec![remove_of_tenant_sql(table)],
    };
    TABLES.into_iter().flat_map(of_table).collect()
}
