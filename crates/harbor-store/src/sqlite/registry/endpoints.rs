//! Endpoints.

use async_trait::async_trait;
use harbor_model::chance::Rng;
use harbor_model::endpoint::{DisabledReason, Drain, Endpoint, EndpointUrl};
use harbor_model::id::{EndpointId, TenantId};
use harbor_model::notice::Subject;
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::{Change, Endpoints};
use harbor_model::subscription::Subscription;
use harbor_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::keyring::{
    Keyring, Sealed, headers_from_plain, headers_to_plain, open, secrets_from_plain, secrets_to_plain,
};
use crate::layers::{layer_from_json, layer_to_json};
use crate::pages::{IdRange, Seen};
use crate::registry::{Changed, Guard};
use crate::seal::DataKey;
use crate::sqlite::SqliteStore;
use crate::sqlite::breakers;
use crate::sqlite::health;
use crate::sqlite::keyring::data_key;
use crate::sqlite::lanes;
use crate::sqlite::notices;
use crate::sqlite::pages::page;
use crate::sqlite::registry::subscriptions;
use crate::sqlite::rows::{blob, json_if_any, named_if_any, number, time, time_if_any, value};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Endpoints for SqliteStore {
    async fn create_endpoint(
        &self,
        endpoint: Endpoint,
        subscriptions: Vec<Subscription>,
        endpoints_max: usize,
    ) -> Result<Change<Endpoint>, Fault> {
        let (keyring, rng, directory) = (self.keyring.clone(), self.rng.clone(), self.directory.clone());
        let id = endpoint.tenant_id.clone();
        let create =
            move |tx: &mut Tx<'_>| create(tx, &keyring, &*rng, &endpoint, &subscriptions, endpoints_max);
        let changed = self.database.change(create, move |changed| changed.tell(&directory, &id)).await?;
        Ok(changed.change)
    }

    async fn find_endpoint(&self, tenant: &TenantId, id: EndpointId) -> Result<Option<Endpoint>, Fault> {
        let (tenant_id, keyring) = (tenant.clone(), self.keyring.clone());
        let find = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else { return Ok(None) };
            let sql = format!(
                "SELECT {COLUMNS} FROM endpoints WHERE tenant = ?1 AND id = ?2 AND deleted_at IS NULL"
            );
            let mut query = conn.prepare_cached(&sql)?;
            let mut rows = query.query((tenant, blob(id.number())))?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let key = data_key(&keyring, conn, tenant)?;
            read_endpoint(row, &key, tenant, &tenant_id).map(Some)
        };
        self.database.browse(find).await
    }

    async fn endpoints(&self, tenant: &TenantId, ask: PageAsk) -> Result<Page<Endpoint>, Fault> {
        let (tenant_id, keyring) = (tenant.clone(), self.keyring.clone());
        let list = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let key = data_key(&keyring, conn, tenant)?;
            let sql = format!(
                "SELECT {COLUMNS}, deleted_at IS NOT NULL FROM endpoints
                 WHERE tenant = ?1 AND id BETWEEN ?2 AND ?3 ORDER BY id DESC"
            );
            let (first, last) = IdRange::new(ask.after, None, None).ends();
            let mut query = conn.prepare_cached(&sql)?;
            page(query.query((tenant, blob(first), blob(last)))?, ask.limit, |row| {
                let is_deleted: bool = value(row, 17)?;
                let item =
                    if is_deleted { None } else { Some(read_endpoint(row, &key, tenant, &tenant_id)?) };
                Ok(Seen { position: number(row, 0)?, item })
            })
        };
        self.database.browse(list).await
    }

    async fn update_endpoint(&self, endpoint: Endpoint) -> Result<Change<Endpoint>, Fault> {
        let (keyring, rng, directory) = (self.keyring.clone(), self.rng.clone(), self.directory.clone());
        let id = endpoint.tenant_id.clone();
        let update = move |tx: &mut Tx<'_>| update(tx, &keyring, &*rng, &endpoint);
        let changed = self.database.change(update, move |changed| changed.tell(&directory, &id)).await?;
        Ok(changed.change)
    }

    async fn delete_endpoint(
        &self,
        tenant: &TenantId,
        id: EndpointId,
        version: Option<u64>,
        now: Timestamp,
    ) -> Result<Change<()>, Fault> {
        let (tenant_id, directory) = (tenant.clone(), self.directory.clone());
        let of = tenant.clone();
        let delete = move |tx: &mut Tx<'_>| delete(tx, &tenant_id, id, version, now);
        let changed = self.database.change(delete, move |changed| changed.tell(&directory, &of)).await?;
        Ok(changed.change)
    }
}

fn create(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    rng: &dyn Rng,
    endpoint: &Endpoint,
    wanted: &[Subscription],
    endpoints_max: usize,
) -> Result<Changed<Endpoint>, Trouble> {
    let Some(tenant) = tx.tenant(&endpoint.tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
    let count = "SELECT endpoint_count FROM tenants WHERE number = ?1";
    let count: usize = tx.conn.prepare_cached(count)?.query_row([tenant.number], |row| row.get(0))?;
    if count >= endpoints_max {
        return Ok(Changed::not(Change::TooMany));
    }
    let has_twin = |(position, one): (usize, &Subscription)| {
        wanted[..position].iter().any(|other| other.pattern == one.pattern)
    };
    if stored_version(tx.conn, tenant.number, endpoint.id)?.is_some()
        || wanted.iter().enumerate().any(has_twin)
    {
        return Ok(Changed::not(Change::Exists));
    }

    let key = tx.data_key(keyring.master(), tenant.number)?;
    write(tx.conn, INSERT, &key, rng, tenant.number, endpoint)?;
    for subscription in wanted {
        assert_eq!(subscription.endpoint_id, endpoint.id, "first subscriptions are the endpoint's own");
        subscriptions::insert(tx.conn, tenant.number, subscription)?;
    }
    subscriptions::note_watched(tx.conn, tenant.number)?;
    change_count(tx.conn, tenant.number, 1)?;
    let directory_version = tx.raise_directory_version(&endpoint.tenant_id)?;
    Ok(Changed::done(endpoint.clone(), directory_version))
}

fn update(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    rng: &dyn Rng,
    endpoint: &Endpoint,
) -> Result<Changed<Endpoint>, Trouble> {
    let Some(tenant) = tx.tenant(&endpoint.tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
    let stored = "SELECT version, url, url_version, disabled IS NOT NULL FROM endpoints
                  WHERE tenant = ?1 AND id = ?2 AND deleted_at IS NULL";
    let stored: Option<(u64, String, u64, bool)> = tx
        .conn
        .prepare_cached(stored)?
        .query_row((tenant.number, blob(endpoint.id.number())), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((version, url, url_version, was_disabled)) = stored else {
        return Ok(Changed::not(Change::Missing));
    };
    if version != endpoint.version {
        return Ok(Changed::not(Change::Conflict));
    }
    let next_version = version + 1;
    let url_version = if url == endpoint.url.as_str() { url_version } else { next_version };
    let is_enabled = was_disabled && endpoint.disabled.is_none();
    let enabled_at = if is_enabled { Some(endpoint.updated_at) } else { endpoint.enabled_at };
    let next = Endpoint { version: next_version, url_version, enabled_at, ..endpoint.clone() };

    let key = tx.data_key(keyring.master(), tenant.number)?;
    write(tx.conn, UPDATE, &key, rng, tenant.number, &next)?;
    if url_version == next_version {
        breakers::forget(tx.conn, tenant.number, next.id)?;
        health::forget(tx.conn, tenant.number, next.id)?;
    }
    match (was_disabled, next.disabled) {
        (true, None) => enable(tx.conn, tenant.number, &next)?,
        (false, Some(reason)) if tenant.is_watched => {
            let subject = Subject::EndpointDisabled { endpoint_id: next.id, reason };
            notices::write(tx, tenant.number, &subject, next.updated_at)?;
        }
        (_, _) => {}
    }
    let directory_version = tx.raise_directory_version(&next.tenant_id)?;
    Ok(Changed::done(next, directory_version))
}

/// Lets an endpoint begin anew. What is open from before it was enabled is not saved by that: it dies.
fn enable(conn: &Connection, tenant: i64, endpoint: &Endpoint) -> Result<(), Trouble> {
    let sql = "UPDATE endpoints SET enabled_at = ?3 WHERE tenant = ?1 AND id = ?2";
    let key = (tenant, blob(endpoint.id.number()), endpoint.updated_at.unix_ms());
    conn.prepare_cached(sql)?.execute(key)?;
    health::forget(conn, tenant, endpoint.id)
}

/// Marks it as deleted and wipes its secrets. The row stays for its open deliveries.
fn delete(
    tx: &mut Tx<'_>,
    tenant_id: &TenantId,
    id: EndpointId,
    version: Option<u64>,
    now: Timestamp,
) -> Result<Changed<()>, Trouble> {
    let Some(tenant) = tx.tenant(tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
    match Guard::check(stored_version(tx.conn, tenant.number, id)?, version) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    let key = (tenant.number, blob(id.number()));
    let mark = "UPDATE endpoints SET deleted_at = ?3, updated_at = ?3, secrets = NULL, headers = NULL
                WHERE tenant = ?1 AND id = ?2";
    tx.conn.prepare_cached(mark)?.execute((key.0, key.1, now.unix_ms()))?;
    let unsubscribe = "DELETE FROM subscriptions WHERE tenant = ?1 AND endpoint_id = ?2";
    tx.conn.prepare_cached(unsubscribe)?.execute(key)?;
    subscriptions::note_watched(tx.conn, tenant.number)?;
    breakers::forget(tx.conn, tenant.number, id)?;
    health::forget(tx.conn, tenant.number, id)?;
    lanes::forget_held(tx.conn, tenant.number, id)?;
    change_count(tx.conn, tenant.number, -1)?;
    let directory_version = tx.raise_directory_version(tenant_id)?;
    Ok(Changed::done((), directory_version))
}

/// The version of an endpoint that was not deleted.
pub(super) fn stored_version(conn: &Connection, tenant: i64, id: EndpointId) -> Result<Option<u64>, Trouble> {
    let sql = "SELECT version FROM endpoints WHERE tenant = ?1 AND id = ?2 AND deleted_at IS NULL";
    let found =
        conn.prepare_cached(sql)?.query_row((tenant, blob(id.number())), |row| row.get(0)).optional()?;
    Ok(found)
}

fn change_count(conn: &Connection, tenant: i64, by: i64) -> Result<(), Trouble> {
    let sql = "UPDATE tenants SET endpoint_count = endpoint_count + ?2 WHERE number = ?1";
    conn.prepare_cached(sql)?.execute((tenant, by))?;
    Ok(())
}

const INSERT: &str = "INSERT INTO endpoints (
        tenant, id, name, description, url, secrets, headers, policy, metadata, paused, disabled,
        version, url_version, created_at, updated_at, drain_per_second, drain_since)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

const UPDATE: &str = "UPDATE endpoints SET
        name = ?3, description = ?4, url = ?5, secrets = ?6, headers = ?7, policy = ?8, metadata = ?9,
        paused = ?10, disabled = ?11, version = ?12, url_version = ?13, created_at = ?14, updated_at = ?15,
        drain_per_second = ?16, drain_since = ?17
    WHERE tenant = ?1 AND id = ?2";

fn write(
    conn: &Connection,
    sql: &str,
    key: &DataKey,
    rng: &dyn Rng,
    tenant: i64,
    endpoint: &Endpoint,
) -> Result<(), Trouble> {
    let secrets = key.seal(
        &secrets_to_plain(&endpoint.secrets),
        &Sealed::EndpointSecrets.place(tenant, endpoint.id),
        rng,
    );
    let headers = key.seal(
        &headers_to_plain(&endpoint.headers),
        &Sealed::EndpointHeaders.place(tenant, endpoint.id),
        rng,
    );
    let mut write = conn.prepare_cached(sql)?;
    write.raw_bind_parameter(1, tenant)?;
    write.raw_bind_parameter(2, blob(endpoint.id.number()))?;
    write.raw_bind_parameter(3, endpoint.name.as_deref())?;
    write.raw_bind_parameter(4, endpoint.description.as_deref())?;
    write.raw_bind_parameter(5, endpoint.url.as_str())?;
    write.raw_bind_parameter(6, secrets)?;
    write.raw_bind_parameter(7, headers)?;
    write.raw_bind_parameter(8, layer_to_json(&endpoint.policy))?;
    write.raw_bind_parameter(9, serde_json::to_string(&endpoint.metadata).expect("texts make JSON"))?;
    write.raw_bind_parameter(10, endpoint.paused)?;
    write.raw_bind_parameter(11, endpoint.disabled.map(DisabledReason::as_str))?;
    write.raw_bind_parameter(12, endpoint.version)?;
    write.raw_bind_parameter(13, endpoint.url_version)?;
    write.raw_bind_parameter(14, endpoint.created_at.unix_ms())?;
    write.raw_bind_parameter(15, endpoint.updated_at.unix_ms())?;
    write.raw_bind_parameter(16, endpoint.drain.map(|drain| drain.per_second))?;
    write.raw_bind_parameter(17, endpoint.drain.map(|drain| drain.since.unix_ms()))?;
    write.raw_execute()?;
    Ok(())
}

/// The columns that [`read_endpoint`] reads, in its order.
const COLUMNS: &str = "id, name, description, url, secrets, headers, policy, metadata, paused, disabled, \
     version, url_version, created_at, updated_at, drain_per_second, drain_since, enabled_at";

fn read_endpoint(
    row: &Row<'_>,
    key: &DataKey,
    tenant: i64,
    tenant_id: &TenantId,
) -> Result<Endpoint, Trouble> {
    let id = EndpointId::from_number(number(row, 0)?);
    let url: String = value(row, 3)?;
    let secrets = open(key, &value::<Vec<u8>>(row, 4)?, &Sealed::EndpointSecrets.place(tenant, id))?;
    let headers = open(key, &value::<Vec<u8>>(row, 5)?, &Sealed::EndpointHeaders.place(tenant, id))?;
    let policy: String = value(row, 6)?;
    let drain = match (value(row, 14)?, time_if_any(row, 15)?) {
        (Some(per_second), Some(since)) => Some(Drain { per_second, since }),
        (_, _) => None,
    };
    Ok(Endpoint {
        id,
        tenant_id: tenant_id.clone(),
        name: value(row, 1)?,
        description: value(row, 2)?,
        url: EndpointUrl::from_stored(&url).map_err(|error| Trouble::damaged("URL", error))?,
        secrets: secrets_from_plain(&secrets)?,
        headers: headers_from_plain(&headers)?,
        policy: layer_from_json(&policy).map_err(|error| Trouble::damaged("policy", error))?,
        metadata: json_if_any(row, 7, "metadata")?,
        paused: value(row, 8)?,
        drain,
        disabled: named_if_any(row, 9, "disabled reason", DisabledReason::from_name)?,
        enabled_at: time_if_any(row, 16)?,
        version: value(row, 10)?,
        url_version: value(row, 11)?,
        created_at: time(row, 12)?,
        updated_at: time(row, 13)?,
    })
}

/// Every endpoint of a tenant that was not deleted.
pub(super) fn of_tenant(
    conn: &Connection,
    keyring: &Keyring,
    tenant: i64,
    tenant_id: &TenantId,
) -> Result<Vec<Endpoint>, Trouble> {
    let key = data_key(keyring, conn, tenant)?;
    let sql = format!("SELECT {COLUMNS} FROM endpoints WHERE tenant = ?1 AND deleted_at IS NULL");
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query([tenant])?;
    let mut endpoints = Vec::new();
    while let Some(row) = rows.next()? {
        endpoints.push(read_endpoint(row, &key, tenant, tenant_id)?);
    }
    Ok(endpoints)
}
