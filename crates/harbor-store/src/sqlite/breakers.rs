//! Circuit breakers that are not closed, a row each.

use std::time::Duration;

use async_trait::async_trait;
use harbor_model::id::{EndpointId, TenantId, WorkerId};
use harbor_model::notice::Subject;
use harbor_model::port::Fault;
use harbor_model::port::breakers::{BREAKERS_LISTED_MAX, BreakerChange, Breakers, OpenBreaker};
use harbor_model::port::deliveries::EndpointKey;
use rusqlite::{Connection, Row};

use crate::sqlite::SqliteStore;
use crate::sqlite::notices;
use crate::sqlite::rows::{blob, number, number_if_any, parsed, time, value};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Breakers for SqliteStore {
    async fn open_breaker(
        &self,
        key: &EndpointKey,
        opening: BreakerChange,
    ) -> Result<Option<OpenBreaker>, Fault> {
        let key = key.clone();
        self.database.change(move |tx| open(tx, &key, &opening), |_| ()).await
    }

    async fn change_breaker(
        &self,
        key: &EndpointKey,
        version: u64,
        change: Option<BreakerChange>,
    ) -> Result<Option<OpenBreaker>, Fault> {
        let key = key.clone();
        self.database.change(move |tx| set(tx, &key, version, change.as_ref()), |_| ()).await
    }

    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, Fault> {
        self.database.read(list).await
    }

    async fn find_breaker(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
    ) -> Result<Option<OpenBreaker>, Fault> {
        let key = EndpointKey { tenant_id: tenant.clone(), endpoint_id: endpoint };
        let find = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &key.tenant_id)? else { return Ok(None) };
            find(conn, tenant, &key)
        };
        self.database.browse(find).await
    }
}

pub(crate) const INSERT: &str = "INSERT INTO breakers
        (tenant, endpoint_id, version, opened_at, decided_at, probe_at, cooldown_ms, prober)
    SELECT tenant, id, ?3, ?4, ?4, ?5, ?6, ?7 FROM endpoints
    WHERE tenant = ?1 AND id = ?2 AND deleted_at IS NULL
    ON CONFLICT (tenant, endpoint_id) DO NOTHING";

fn open(tx: &mut Tx<'_>, key: &EndpointKey, opening: &BreakerChange) -> Result<Option<OpenBreaker>, Trouble> {
    let Some(tenant) = tx.tenant(&key.tenant_id)? else { return Ok(None) };
    let version = next_version(tx.conn)?;
    let opened = tx.conn.prepare_cached(INSERT)?.execute((
        tenant.number,
        blob(key.endpoint_id.number()),
        version,
        opening.decided_at.unix_ms(),
        opening.probe_at.unix_ms(),
        cooldown_ms(opening),
        opening.prober.map(|worker| blob(worker.number())),
    ))?;
    if opened == 1 && tenant.is_watched {
        let subject =
            Subject::CircuitOpened { endpoint_id: key.endpoint_id, next_probe_at: opening.probe_at };
        notices::write(tx, tenant.number, &subject, opening.decided_at)?;
    }
    find(tx.conn, tenant.number, key)
}

pub(crate) const UPDATE: &str = "UPDATE breakers
    SET version = ?4, decided_at = ?5, probe_at = ?6, cooldown_ms = ?7, prober = ?8
    WHERE tenant = ?1 AND endpoint_id = ?2 AND version = ?3";

pub(crate) const DELETE: &str =
    "DELETE FROM breakers WHERE tenant = ?1 AND endpoint_id = ?2 AND version = ?3";

fn set(
    tx: &mut Tx<'_>,
    key: &EndpointKey,
    version: u64,
    change: Option<&BreakerChange>,
) -> Result<Option<OpenBreaker>, Trouble> {
    let Some(tenant) = tx.tenant(&key.tenant_id)? else { return Ok(None) };
    let endpoint = blob(key.endpoint_id.number());
    match change {
        Some(change) => tx.conn.prepare_cached(UPDATE)?.execute((
            tenant.number,
            endpoint,
            version,
            next_version(tx.conn)?,
            change.decided_at.unix_ms(),
            change.probe_at.unix_ms(),
            cooldown_ms(change),
            change.prober.map(|worker| blob(worker.number())),
        ))?,
        None => tx.conn.prepare_cached(DELETE)?.execute((tenant.number, endpoint, version))?,
    };
    find(tx.conn, tenant.number, key)
}

/// Closes the breaker of an endpoint that is no longer what it was.
pub(crate) fn forget(conn: &Connection, tenant: i64, endpoint: EndpointId) -> Result<(), Trouble> {
    let sql = "DELETE FROM breakers WHERE tenant = ?1 AND endpoint_id = ?2";
    conn.prepare_cached(sql)?.execute((tenant, blob(endpoint.number())))?;
    Ok(())
}

fn next_version(conn: &Connection) -> Result<u64, Trouble> {
    let sql = "UPDATE breaker_version SET last = last + 1 RETURNING last";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

fn cooldown_ms(change: &BreakerChange) -> i64 {
    i64::try_from(change.cooldown.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) const FIND: &str =
    "SELECT endpoint_id, version, opened_at, decided_at, probe_at, cooldown_ms, prober
    FROM breakers WHERE tenant = ?1 AND endpoint_id = ?2";

fn find(conn: &Connection, tenant: i64, key: &EndpointKey) -> Result<Option<OpenBreaker>, Trouble> {
    let mut query = conn.prepare_cached(FIND)?;
    let mut rows = query.query((tenant, blob(key.endpoint_id.number())))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    read_breaker(row, key.tenant_id.clone()).map(Some)
}

fn list(conn: &Connection) -> Result<Vec<OpenBreaker>, Trouble> {
    let sql = "SELECT b.endpoint_id, b.version, b.opened_at, b.decided_at, b.probe_at, b.cooldown_ms, b.prober, t.id
               FROM breakers AS b JOIN tenants AS t ON t.number = b.tenant
               WHERE t.deleted_at IS NULL ORDER BY b.tenant, b.endpoint_id LIMIT ?1";
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query([BREAKERS_LISTED_MAX])?;
    let mut breakers = Vec::new();
    while let Some(row) = rows.next()? {
        breakers.push(read_breaker(row, parsed(row, 7, "tenant id")?)?);
    }
    Ok(breakers)
}

/// Reads the columns of [`FIND`].
fn read_breaker(row: &Row<'_>, tenant_id: TenantId) -> Result<OpenBreaker, Trouble> {
    Ok(OpenBreaker {
        key: EndpointKey { tenant_id, endpoint_id: EndpointId::from_number(number(row, 0)?) },
        version: value(row, 1)?,
        opened_at: time(row, 2)?,
        change: BreakerChange {
            decided_at: time(row, 3)?,
            probe_at: time(row, 4)?,
            cooldown: Duration::from_millis(value(row, 5)?),
            prober: number_if_any(row, 6)?.map(WorkerId::from_number),
        },
    })
}
