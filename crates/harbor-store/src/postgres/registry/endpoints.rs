//! Endpoints.

use async_trait::async_trait;
use harbor_model::endpoint::{DisabledReason, Drain, Endpoint, EndpointUrl};
use harbor_model::id::{EndpointId, TenantId};
use harbor_model::notice::Subject;
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::{Change, Endpoints};
use harbor_model::subscription::Subscription;
use harbor_model::time::Timestamp;
use tokio_postgres::Row;

use crate::keyring::{
    Keyring, Sealed, headers_from_plain, headers_to_plain, open, secrets_from_plain, secrets_to_plain,
};
use crate::layers::{layer_from_json, layer_to_json};
use crate::pages::{IdRange, Seen};
use crate::postgres::database::{Link, Tx, retried};
use crate::postgres::keyring::data_key;
use crate::postgres::pages::List;
use crate::postgres::registry::{
    done, find_tenant_number, is_of_watcher, lock_tenant, note_watchers, subscriptions,
};
use crate::postgres::rows::{bigint, json_if_any, named_if_any, number, time, time_if_any, value, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;
use crate::postgres::{PostgresStore, health, notices};
use crate::registry::{Changed, Guard};
use crate::seal::DataKey;

#[async_trait]
impl Endpoints for PostgresStore {
    async fn create_endpoint(
        &self,
        endpoint: Endpoint,
        subscriptions: Vec<Subscription>,
        endpoints_max: usize,
    ) -> Result<Change<Endpoint>, Fault> {
        self.change("create endpoint", &endpoint.tenant_id, async |tx| {
            self.create(tx, &endpoint, &subscriptions, endpoints_max).await
        })
        .await
    }

    async fn find_endpoint(&self, tenant: &TenantId, id: EndpointId) -> Result<Option<Endpoint>, Fault> {
        let sql =
            format!("SELECT {COLUMNS} FROM endpoints WHERE tenant = $1 AND id = $2 AND deleted_at IS NULL");
        retried("find endpoint", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(None) };
            let Some(row) = link.query_opt(&sql, &[&number, &Uuid(id.number())]).await? else {
                return Ok(None);
            };
            let key = data_key(&link, &self.keyring, number).await?;
            endpoint(&row, &key, number, tenant).map(Some)
        })
        .await
    }

    async fn endpoints(&self, tenant: &TenantId, ask: PageAsk) -> Result<Page<Endpoint>, Fault> {
        let sql = format!(
            "SELECT {COLUMNS}, deleted_at IS NOT NULL FROM endpoints
             WHERE tenant = $1 AND id BETWEEN $2 AND $3 ORDER BY id DESC LIMIT $4"
        );
        retried("list endpoints", async || {
            let link = self.database.browse().await?;
            let Some(tenant_number) = find_tenant_number(&link, tenant).await? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let key = data_key(&link, &self.keyring, tenant_number).await?;
            let list = List {
                sql: &sql,
                tenant: &tenant_number,
                range: IdRange::new(ask.after, None, None),
                narrowed_by: &[],
                limit: ask.limit,
            };
            list.page(&link, |row| {
                let is_deleted: bool = value(row, 17)?;
                let item = if is_deleted { None } else { Some(endpoint(row, &key, tenant_number, tenant)?) };
                Ok(Seen { position: number(row, 0)?, item })
            })
            .await
        })
        .await
    }

    async fn update_endpoint(&self, endpoint: Endpoint) -> Result<Change<Endpoint>, Fault> {
        self.change("update endpoint", &endpoint.tenant_id, async |tx| self.update(tx, &endpoint).await).await
    }

    async fn delete_endpoint(
        &self,
        tenant: &TenantId,
        id: EndpointId,
        version: Option<u64>,
        now: Timestamp,
    ) -> Result<Change<()>, Fault> {
        self.change("delete endpoint", tenant, async |tx| delete(tx, tenant, id, version, now).await).await
    }
}

impl PostgresStore {
    async fn create(
        &self,
        tx: Tx,
        endpoint: &Endpoint,
        wanted: &[Subscription],
        endpoints_max: usize,
    ) -> Result<Changed<Endpoint>, Trouble> {
        let lock = "SELECT number, endpoint_count FROM tenants
                    WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";
        let Some(row) = tx.query_opt(lock, &[&endpoint.tenant_id.as_str()]).await? else {
            return Ok(Changed::not(Change::Missing));
        };
        let (tenant, count): (i64, usize) = (value(&row, 0)?, whole(&row, 1, "count of endpoints")?);
        if count >= endpoints_max {
            return Ok(Changed::not(Change::TooMany));
        }
        let has_twin = |(position, one): (usize, &Subscription)| {
            wanted[..position].iter().any(|other| other.pattern == one.pattern)
        };
        if lock_version(&tx, tenant, endpoint.id).await?.is_some() || wanted.iter().enumerate().any(has_twin)
        {
            return Ok(Changed::not(Change::Exists));
        }

        self.write(&tx, INSERT, tenant, endpoint).await?;
        for subscription in wanted {
            assert_eq!(subscription.endpoint_id, endpoint.id, "first subscriptions are the endpoint's own");
            subscriptions::insert(&tx, tenant, subscription).await?;
        }
        if wanted.iter().any(|subscription| is_of_watcher(&subscription.pattern)) {
            note_watchers(&tx, tenant).await?;
        }
        change_count(&tx, tenant, 1).await?;
        done(tx, tenant, endpoint.clone()).await
    }

    async fn update(&self, tx: Tx, endpoint: &Endpoint) -> Result<Changed<Endpoint>, Trouble> {
        let Some(tenant) = lock_tenant(&tx, &endpoint.tenant_id).await? else {
            return Ok(Changed::not(Change::Missing));
        };
        let stored = "SELECT version, url, url_version, disabled IS NOT NULL FROM endpoints
                      WHERE tenant = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE";
        let Some(row) = tx.query_opt(stored, &[&tenant, &Uuid(endpoint.id.number())]).await? else {
            return Ok(Changed::not(Change::Missing));
        };
        let version: u64 = whole(&row, 0, "version")?;
        if version != endpoint.version {
            return Ok(Changed::not(Change::Conflict));
        }
        let next_version = version + 1;
        let is_same_url = value::<&str>(&row, 1)? == endpoint.url.as_str();
        let url_version = if is_same_url { whole(&row, 2, "version")? } else { next_version };
        let was_disabled: bool = value(&row, 3)?;
        let is_enabled = was_disabled && endpoint.disabled.is_none();
        let enabled_at = if is_enabled { Some(endpoint.updated_at) } else { endpoint.enabled_at };
        let next = Endpoint { version: next_version, url_version, enabled_at, ..endpoint.clone() };

        self.write(&tx, UPDATE, tenant, &next).await?;
        if !is_same_url {
            forget_breaker(&tx, tenant, next.id).await?;
        }
        if !is_same_url || is_enabled {
            health::forget(&tx, tenant, next.id).await?;
        }
        if is_enabled {
            note_enabled(&tx, tenant, &next).await?;
        }
        if let Some(reason) = next.disabled
            && !was_disabled
        {
            let subject = Subject::EndpointDisabled { endpoint_id: next.id, reason };
            notices::tell(&tx, &*self.rng, tenant, &subject, next.updated_at).await?;
        }
        done(tx, tenant, next).await
    }

    async fn write(&self, tx: &Tx, sql: &str, tenant: i64, endpoint: &Endpoint) -> Result<(), Trouble> {
        let key = data_key(tx, &self.keyring, tenant).await?;
        let seal =
            |plain: &[u8], column: Sealed| key.seal(plain, &column.place(tenant, endpoint.id), &*self.rng);
        let secrets = seal(&secrets_to_plain(&endpoint.secrets), Sealed::EndpointSecrets);
        let headers = seal(&headers_to_plain(&endpoint.headers), Sealed::EndpointHeaders);
        tx.execute(
            sql,
            &[
                &tenant,
                &Uuid(endpoint.id.number()),
                &endpoint.name,
                &endpoint.description,
                &endpoint.url.as_str(),
                &secrets,
                &headers,
                &layer_to_json(&endpoint.policy),
                &serde_json::to_string(&endpoint.metadata).expect("texts make JSON"),
                &endpoint.paused,
                &endpoint.disabled.map(DisabledReason::as_str),
                &bigint(endpoint.version),
                &bigint(endpoint.url_version),
                &endpoint.created_at.unix_ms(),
                &endpoint.updated_at.unix_ms(),
                &endpoint.drain.map(|drain| i32::try_from(drain.per_second).unwrap_or(i32::MAX)),
                &endpoint.drain.map(|drain| drain.since.unix_ms()),
            ],
        )
        .await?;
        Ok(())
    }
}

/// Marks it as deleted and wipes its secrets. The row stays for its open deliveries.
async fn delete(
    tx: Tx,
    tenant_id: &TenantId,
    id: EndpointId,
    version: Option<u64>,
    now: Timestamp,
) -> Result<Changed<()>, Trouble> {
    let Some(tenant) = lock_tenant(&tx, tenant_id).await? else { return Ok(Changed::not(Change::Missing)) };
    match Guard::check(lock_version(&tx, tenant, id).await?, version) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    let mark = "UPDATE endpoints SET deleted_at = $3, updated_at = $3, secrets = NULL, headers = NULL
                WHERE tenant = $1 AND id = $2";
    tx.execute(mark, &[&tenant, &Uuid(id.number()), &now.unix_ms()]).await?;
    let unsubscribe = "DELETE FROM subscriptions WHERE tenant = $1 AND endpoint_id = $2";
    tx.execute(unsubscribe, &[&tenant, &Uuid(id.number())]).await?;
    note_watchers(&tx, tenant).await?;
    forget_breaker(&tx, tenant, id).await?;
    health::forget(&tx, tenant, id).await?;
    // Those behind dead heads are ended as all that is open there.
    let release = "DELETE FROM lanes WHERE tenant = $1 AND endpoint_id = $2 AND held_at IS NOT NULL";
    tx.execute(release, &[&tenant, &Uuid(id.number())]).await?;
    change_count(&tx, tenant, -1).await?;
    done(tx, tenant, ()).await
}

/// The version of an endpoint that was not deleted, which stands until the end of the transaction.
pub(super) async fn lock_version(tx: &Tx, tenant: i64, id: EndpointId) -> Result<Option<u64>, Trouble> {
    let sql = "SELECT version FROM endpoints
               WHERE tenant = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE";
    let row = tx.query_opt(sql, &[&tenant, &Uuid(id.number())]).await?;
    row.map(|row| whole(&row, 0, "version")).transpose()
}

/// Closes the breaker of an endpoint whose URL it was opened for is no longer its own.
async fn forget_breaker(tx: &Tx, tenant: i64, id: EndpointId) -> Result<(), Trouble> {
    let sql = "DELETE FROM breakers WHERE tenant = $1 AND endpoint_id = $2";
    tx.execute(sql, &[&tenant, &Uuid(id.number())]).await?;
    Ok(())
}

/// What is open from before dies, since the endpoint was disabled then.
async fn note_enabled(tx: &Tx, tenant: i64, endpoint: &Endpoint) -> Result<(), Trouble> {
    let sql = "UPDATE endpoints SET enabled_at = $3 WHERE tenant = $1 AND id = $2";
    tx.execute(sql, &[&tenant, &Uuid(endpoint.id.number()), &endpoint.updated_at.unix_ms()]).await?;
    Ok(())
}

async fn change_count(tx: &Tx, tenant: i64, by: i64) -> Result<(), Trouble> {
    let sql = "UPDATE tenants SET endpoint_count = endpoint_count + $2 WHERE number = $1";
    tx.execute(sql, &[&tenant, &by]).await?;
    Ok(())
}

const INSERT: &str = "INSERT INTO endpoints (
        tenant, id, name, description, url, secrets, headers, policy, metadata, paused, disabled,
        version, url_version, created_at, updated_at, drain_per_second, drain_since)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";

const UPDATE: &str = "UPDATE endpoints SET
        name = $3, description = $4, url = $5, secrets = $6, headers = $7, policy = $8, metadata = $9,
        paused = $10, disabled = $11, version = $12, url_version = $13, created_at = $14, updated_at = $15,
        drain_per_second = $16, drain_since = $17
    WHERE tenant = $1 AND id = $2";

/// The columns that [`endpoint`] reads, in its order.
const COLUMNS: &str = "id, name, description, url, secrets, headers, policy, metadata, paused, disabled, \
     version, url_version, created_at, updated_at, drain_per_second, drain_since, enabled_at";

fn endpoint(row: &Row, key: &DataKey, tenant: i64, tenant_id: &TenantId) -> Result<Endpoint, Trouble> {
    let id = EndpointId::from_number(number(row, 0)?);
    let secrets = open(key, value(row, 4)?, &Sealed::EndpointSecrets.place(tenant, id))?;
    let headers = open(key, value(row, 5)?, &Sealed::EndpointHeaders.place(tenant, id))?;
    let drain = match time_if_any(row, 15)? {
        Some(since) => Some(Drain { per_second: whole(row, 14, "rate of a drain")?, since }),
        None => None,
    };
    Ok(Endpoint {
        id,
        tenant_id: tenant_id.clone(),
        name: value(row, 1)?,
        description: value(row, 2)?,
        url: EndpointUrl::from_stored(value(row, 3)?).map_err(|error| Trouble::damaged("URL", error))?,
        secrets: secrets_from_plain(&secrets)?,
        headers: headers_from_plain(&headers)?,
        policy: layer_from_json(value(row, 6)?).map_err(|error| Trouble::damaged("policy", error))?,
        metadata: json_if_any(row, 7, "metadata")?,
        paused: value(row, 8)?,
        drain,
        disabled: named_if_any(row, 9, "disabled reason", DisabledReason::from_name)?,
        enabled_at: time_if_any(row, 16)?,
        version: whole(row, 10, "version")?,
        url_version: whole(row, 11, "version")?,
        created_at: time(row, 12)?,
        updated_at: time(row, 13)?,
    })
}

/// Every endpoint of a tenant that was not deleted.
pub(super) async fn of_tenant(
    link: &Link,
    keyring: &Keyring,
    tenant: i64,
    tenant_id: &TenantId,
) -> Result<Vec<Endpoint>, Trouble> {
    let key = data_key(link, keyring, tenant).await?;
    let sql = format!("SELECT {COLUMNS} FROM endpoints WHERE tenant = $1 AND deleted_at IS NULL");
    let rows = link.query(&sql, &[&tenant]).await?;
    rows.iter().map(|row| endpoint(row, &key, tenant, tenant_id)).collect()
}
