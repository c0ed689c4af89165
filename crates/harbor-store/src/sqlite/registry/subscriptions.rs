//! Subscriptions.

use async_trait::async_trait;
use harbor_model::event_type::EventTypePattern;
use harbor_model::id::{EndpointId, SubscriptionId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::{Change, SubscriptionFilter, Subscriptions};
use harbor_model::subscription::Subscription;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::filters::is_subscription_wanted;
use crate::pages::{IdRange, Seen};
use crate::registry::{Changed, Guard};
use crate::sqlite::SqliteStore;
use crate::sqlite::pages::page;
use crate::sqlite::registry::endpoints;
use crate::sqlite::rows::{blob, number, parsed, time, value};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Subscriptions for SqliteStore {
    async fn create_subscription(
        &self,
        subscription: Subscription,
        per_endpoint_max: usize,
    ) -> Result<Change<Subscription>, Fault> {
        let (id, directory) = (subscription.tenant_id.clone(), self.directory.clone());
        let create = move |tx: &mut Tx<'_>| create(tx, &subscription, per_endpoint_max);
        let changed = self.database.change(create, move |changed| changed.tell(&directory, &id)).await?;
        Ok(changed.change)
    }

    async fn find_subscription(
        &self,
        tenant: &TenantId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, Fault> {
        let tenant_id = tenant.clone();
        let find = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else { return Ok(None) };
            let sql = format!("SELECT {COLUMNS} FROM subscriptions WHERE tenant = ?1 AND id = ?2");
            let mut query = conn.prepare_cached(&sql)?;
            let mut rows = query.query((tenant, blob(id.number())))?;
            rows.next()?.map(|row| read_subscription(row, &tenant_id)).transpose()
        };
        self.database.browse(find).await
    }

    async fn subscriptions(
        &self,
        tenant: &TenantId,
        filter: SubscriptionFilter,
        ask: PageAsk,
    ) -> Result<Page<Subscription>, Fault> {
        let tenant_id = tenant.clone();
        let list = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let sql = format!(
                "SELECT {COLUMNS} FROM subscriptions
                 WHERE tenant = ?1 AND id BETWEEN ?2 AND ?3 ORDER BY id DESC"
            );
            let (first, last) = IdRange::new(ask.after, None, None).ends();
            let mut query = conn.prepare_cached(&sql)?;
            page(query.query((tenant, blob(first), blob(last)))?, ask.limit, |row| {
                let subscription = read_subscription(row, &tenant_id)?;
                let position = subscription.id.number();
                Ok(Seen {
                    position,
                    item: Some(subscription).filter(|one| is_subscription_wanted(one, &filter)),
                })
            })
        };
        self.database.browse(list).await
    }

    async fn update_subscription(&self, subscription: Subscription) -> Result<Change<Subscription>, Fault> {
        let (id, directory) = (subscription.tenant_id.clone(), self.directory.clone());
        let update = move |tx: &mut Tx<'_>| update(tx, &subscription);
        let changed = self.database.change(update, move |changed| changed.tell(&directory, &id)).await?;
        Ok(changed.change)
    }

    async fn delete_subscription(
        &self,
        tenant: &TenantId,
        id: SubscriptionId,
        version: Option<u64>,
    ) -> Result<Change<()>, Fault> {
        let (tenant_id, directory) = (tenant.clone(), self.directory.clone());
        let of = tenant.clone();
        let delete = move |tx: &mut Tx<'_>| {
            let Some(tenant) = tx.tenant(&tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
            match Guard::check(stored_version(tx.conn, tenant.number, id)?, version) {
                Guard::Missing => return Ok(Changed::not(Change::Missing)),
                Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
                Guard::Fits => {}
            }
            let delete = "DELETE FROM subscriptions WHERE tenant = ?1 AND id = ?2";
            tx.conn.prepare_cached(delete)?.execute((tenant.number, blob(id.number())))?;
            note_watched(tx.conn, tenant.number)?;
            let directory_version = tx.raise_directory_version(&tenant_id)?;
            Ok(Changed::done((), directory_version))
        };
        let changed = self.database.change(delete, move |changed| changed.tell(&directory, &of)).await?;
        Ok(changed.change)
    }
}

fn create(
    tx: &mut Tx<'_>,
    subscription: &Subscription,
    per_endpoint_max: usize,
) -> Result<Changed<Subscription>, Trouble> {
    let Some(tenant) = tx.tenant(&subscription.tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
    let endpoint_id = subscription.endpoint_id;
    if endpoints::stored_version(tx.conn, tenant.number, endpoint_id)?.is_none() {
        return Ok(Changed::not(Change::Missing));
    }
    if find_pair(tx.conn, tenant.number, subscription)?.is_some() {
        return Ok(Changed::not(Change::Exists));
    }
    let count = "SELECT count(*) FROM subscriptions WHERE tenant = ?1 AND endpoint_id = ?2";
    let count: usize = tx
        .conn
        .prepare_cached(count)?
        .query_row((tenant.number, blob(endpoint_id.number())), |row| row.get(0))?;
    if count >= per_endpoint_max {
        return Ok(Changed::not(Change::TooMany));
    }
    insert(tx.conn, tenant.number, subscription)?;
    note_watched(tx.conn, tenant.number)?;
    let directory_version = tx.raise_directory_version(&subscription.tenant_id)?;
    Ok(Changed::done(subscription.clone(), directory_version))
}

fn update(tx: &mut Tx<'_>, subscription: &Subscription) -> Result<Changed<Subscription>, Trouble> {
    let Some(tenant) = tx.tenant(&subscription.tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
    let stored = stored_version(tx.conn, tenant.number, subscription.id)?;
    match Guard::check(stored, Some(subscription.version)) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    if endpoints::stored_version(tx.conn, tenant.number, subscription.endpoint_id)?.is_none() {
        return Ok(Changed::not(Change::Missing));
    }
    if find_pair(tx.conn, tenant.number, subscription)?.is_some_and(|id| id != subscription.id) {
        return Ok(Changed::not(Change::Exists));
    }
    let next = Subscription { version: subscription.version + 1, ..subscription.clone() };
    let update = "UPDATE subscriptions SET endpoint_id = ?3, pattern = ?4, version = ?5, updated_at = ?6
                  WHERE tenant = ?1 AND id = ?2";
    tx.conn.prepare_cached(update)?.execute((
        tenant.number,
        blob(next.id.number()),
        blob(next.endpoint_id.number()),
        next.pattern.to_string(),
        next.version,
        next.updated_at.unix_ms(),
    ))?;
    note_watched(tx.conn, tenant.number)?;
    let directory_version = tx.raise_directory_version(&next.tenant_id)?;
    Ok(Changed::done(next, directory_version))
}

/// The subscription that has the endpoint and pattern of this one.
fn find_pair(conn: &Connection, tenant: i64, of: &Subscription) -> Result<Option<SubscriptionId>, Trouble> {
    let sql = "SELECT id FROM subscriptions WHERE tenant = ?1 AND endpoint_id = ?2 AND pattern = ?3";
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query((tenant, blob(of.endpoint_id.number()), of.pattern.to_string()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(SubscriptionId::from_number(number(row, 0)?)))
}

fn stored_version(conn: &Connection, tenant: i64, id: SubscriptionId) -> Result<Option<u64>, Trouble> {
    let sql = "SELECT version FROM subscriptions WHERE tenant = ?1 AND id = ?2";
    let found =
        conn.prepare_cached(sql)?.query_row((tenant, blob(id.number())), |row| row.get(0)).optional()?;
    Ok(found)
}

/// Adds a subscription; the caller has seen that it may be.
pub(super) fn insert(conn: &Connection, tenant: i64, subscription: &Subscription) -> Result<(), Trouble> {
    let sql = "INSERT INTO subscriptions (tenant, id, endpoint_id, pattern, version, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    conn.prepare_cached(sql)?.execute((
        tenant,
        blob(subscription.id.number()),
        blob(subscription.endpoint_id.number()),
        subscription.pattern.to_string(),
        subscription.version,
        subscription.created_at.unix_ms(),
        subscription.updated_at.unix_ms(),
    ))?;
    Ok(())
}

pub(crate) const NOTE_WATCHED: &str = "UPDATE tenants SET watched = EXISTS (
        SELECT 1 FROM subscriptions WHERE tenant = ?1 AND pattern >= 'harborhook.' AND pattern < 'harborhook/')
    WHERE number = ?1";

/// Notes whether anybody of a tenant subscribes to operational events. Whoever changes subscriptions
/// raises the directory's version after it, by which the writer learns of this.
pub(super) fn note_watched(conn: &Connection, tenant: i64) -> Result<(), Trouble> {
    conn.prepare_cached(NOTE_WATCHED)?.execute([tenant])?;
    Ok(())
}

/// The columns that [`read_subscription`] reads, in its order.
const COLUMNS: &str = "id, endpoint_id, pattern, version, created_at, updated_at";

fn read_subscription(row: &Row<'_>, tenant_id: &TenantId) -> Result<Subscription, Trouble> {
    Ok(Subscription {
        id: SubscriptionId::from_number(number(row, 0)?),
        tenant_id: tenant_id.clone(),
        endpoint_id: EndpointId::from_number(number(row, 1)?),
        pattern: parsed(row, 2, "pattern")?,
        version: value(row, 3)?,
        created_at: time(row, 4)?,
        updated_at: time(row, 5)?,
    })
}

/// Every subscription of a tenant, for matching.
pub(super) fn of_tenant(
    conn: &Connection,
    tenant: i64,
) -> Result<Vec<(EventTypePattern, EndpointId)>, Trouble> {
    let mut query =
        conn.prepare_cached("SELECT pattern, endpoint_id FROM subscriptions WHERE tenant = ?1")?;
    let mut rows = query.query([tenant])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((parsed(row, 0, "pattern")?, EndpointId::from_number(number(row, 1)?)));
    }
    Ok(found)
}
