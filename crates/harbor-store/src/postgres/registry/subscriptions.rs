//! Subscriptions.

use async_trait::async_trait;
use harbor_model::event_type::EventTypePattern;
use harbor_model::id::{EndpointId, SubscriptionId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::{Change, SubscriptionFilter, Subscriptions};
use harbor_model::subscription::Subscription;
use tokio_postgres::Row;

use crate::filters::is_subscription_wanted;
use crate::pages::{IdRange, Seen};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, Tx, retried};
use crate::postgres::pages::List;
use crate::postgres::registry::{
    done, endpoints, find_tenant_number, is_of_watcher, lock_tenant, note_watchers,
};
use crate::postgres::rows::{bigint, number, parsed, time, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;
use crate::registry::{Changed, Guard};

#[async_trait]
impl Subscriptions for PostgresStore {
    async fn create_subscription(
        &self,
        subscription: Subscription,
        per_endpoint_max: usize,
    ) -> Result<Change<Subscription>, Fault> {
        self.change("create subscription", &subscription.tenant_id, async |tx| {
            create(tx, &subscription, per_endpoint_max).await
        })
        .await
    }

    async fn find_subscription(
        &self,
        tenant: &TenantId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM subscriptions WHERE tenant = $1 AND id = $2");
        retried("find subscription", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(None) };
            let row = link.query_opt(&sql, &[&number, &Uuid(id.number())]).await?;
            row.map(|row| read_subscription(&row, tenant)).transpose()
        })
        .await
    }

    async fn subscriptions(
        &self,
        tenant: &TenantId,
        filter: SubscriptionFilter,
        ask: PageAsk,
    ) -> Result<Page<Subscription>, Fault> {
        let sql = format!(
            "SELECT {COLUMNS} FROM subscriptions
             WHERE tenant = $1 AND id BETWEEN $2 AND $3 ORDER BY id DESC LIMIT $4"
        );
        retried("list subscriptions", async || {
            let link = self.database.browse().await?;
            let Some(tenant_number) = find_tenant_number(&link, tenant).await? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let list = List {
                sql: &sql,
                tenant: &tenant_number,
                range: IdRange::new(ask.after, None, None),
                narrowed_by: &[],
                limit: ask.limit,
            };
            list.page(&link, |row| {
                let subscription = read_subscription(row, tenant)?;
                let position = subscription.id.number();
                let item = Some(subscription).filter(|one| is_subscription_wanted(one, &filter));
                Ok(Seen { position, item })
            })
            .await
        })
        .await
    }

    async fn update_subscription(&self, subscription: Subscription) -> Result<Change<Subscription>, Fault> {
        self.change("update subscription", &subscription.tenant_id, async |tx| {
            update(tx, &subscription).await
        })
        .await
    }

    async fn delete_subscription(
        &self,
        tenant: &TenantId,
        id: SubscriptionId,
        version: Option<u64>,
    ) -> Result<Change<()>, Fault> {
        self.change("delete subscription", tenant, async |tx| delete(tx, tenant, id, version).await).await
    }
}

async fn create(
    tx: Tx,
    subscription: &Subscription,
    per_endpoint_max: usize,
) -> Result<Changed<Subscription>, Trouble> {
    let Some(tenant) = lock_tenant(&tx, &subscription.tenant_id).await? else {
        return Ok(Changed::not(Change::Missing));
    };
    let endpoint_id = subscription.endpoint_id;
    if endpoints::lock_version(&tx, tenant, endpoint_id).await?.is_none() {
        return Ok(Changed::not(Change::Missing));
    }
    if find_pair(&tx, tenant, subscription).await?.is_some() {
        return Ok(Changed::not(Change::Exists));
    }
    if count_of_endpoint(&tx, tenant, endpoint_id).await? >= per_endpoint_max {
        return Ok(Changed::not(Change::TooMany));
    }
    insert(&tx, tenant, subscription).await?;
    if is_of_watcher(&subscription.pattern) {
        note_watchers(&tx, tenant).await?;
    }
    done(tx, tenant, subscription.clone()).await
}

async fn update(tx: Tx, subscription: &Subscription) -> Result<Changed<Subscription>, Trouble> {
    let Some(tenant) = lock_tenant(&tx, &subscription.tenant_id).await? else {
        return Ok(Changed::not(Change::Missing));
    };
    let stored = find_version(&tx, tenant, subscription.id).await?;
    match Guard::check(stored, Some(subscription.version)) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    if endpoints::lock_version(&tx, tenant, subscription.endpoint_id).await?.is_none() {
        return Ok(Changed::not(Change::Missing));
    }
    if find_pair(&tx, tenant, subscription).await?.is_some_and(|id| id != subscription.id) {
        return Ok(Changed::not(Change::Exists));
    }
    let next = Subscription { version: subscription.version + 1, ..subscription.clone() };
    let update = "UPDATE subscriptions SET endpoint_id = $3, pattern = $4, version = $5, updated_at = $6
                  WHERE tenant = $1 AND id = $2";
    tx.execute(
        update,
        &[
            &tenant,
            &Uuid(next.id.number()),
            &Uuid(next.endpoint_id.number()),
            &next.pattern.to_string(),
            &bigint(next.version),
            &next.updated_at.unix_ms(),
        ],
    )
    .await?;
    note_watchers(&tx, tenant).await?;
    done(tx, tenant, next).await
}

async fn delete(
    tx: Tx,
    tenant_id: &TenantId,
    id: SubscriptionId,
    version: Option<u64>,
) -> Result<Changed<()>, Trouble> {
    let Some(tenant) = lock_tenant(&tx, tenant_id).await? else { return Ok(Changed::not(Change::Missing)) };
    match Guard::check(find_version(&tx, tenant, id).await?, version) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    let delete = "DELETE FROM subscriptions WHERE tenant = $1 AND id = $2";
    tx.execute(delete, &[&tenant, &Uuid(id.number())]).await?;
    note_watchers(&tx, tenant).await?;
    done(tx, tenant, ()).await
}

/// The subscription that has the endpoint and pattern of this one.
async fn find_pair(tx: &Tx, tenant: i64, of: &Subscription) -> Result<Option<SubscriptionId>, Trouble> {
    let sql = "SELECT id FROM subscriptions WHERE tenant = $1 AND endpoint_id = $2 AND pattern = $3";
    let pair = tx.query_opt(sql, &[&tenant, &Uuid(of.endpoint_id.number()), &of.pattern.to_string()]).await?;
    pair.map(|row| number(&row, 0).map(SubscriptionId::from_number)).transpose()
}

async fn count_of_endpoint(tx: &Tx, tenant: i64, id: EndpointId) -> Result<usize, Trouble> {
    let sql = "SELECT count(*) FROM subscriptions WHERE tenant = $1 AND endpoint_id = $2";
    let row = tx.query_opt(sql, &[&tenant, &Uuid(id.number())]).await?;
    whole(&row.expect("a count is one row"), 0, "count of subscriptions")
}

async fn find_version(tx: &Tx, tenant: i64, id: SubscriptionId) -> Result<Option<u64>, Trouble> {
    let sql = "SELECT version FROM subscriptions WHERE tenant = $1 AND id = $2";
    let row = tx.query_opt(sql, &[&tenant, &Uuid(id.number())]).await?;
    row.map(|row| whole(&row, 0, "version")).transpose()
}

/// Adds a subscription; the caller has seen that it may be.
pub(super) async fn insert(tx: &Tx, tenant: i64, subscription: &Subscription) -> Result<(), Trouble> {
    let sql = "INSERT INTO subscriptions (tenant, id, endpoint_id, pattern, version, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.execute(
        sql,
        &[
            &tenant,
            &Uuid(subscription.id.number()),
            &Uuid(subscription.endpoint_id.number()),
            &subscription.pattern.to_string(),
            &bigint(subscription.version),
            &subscription.created_at.unix_ms(),
            &subscription.updated_at.unix_ms(),
        ],
    )
    .await?;
    Ok(())
}

/// The columns that [`read_subscription`] reads, in its order.
const COLUMNS: &str = "id, endpoint_id, pattern, version, created_at, updated_at";

fn read_subscription(row: &Row, tenant_id: &TenantId) -> Result<Subscription, Trouble> {
    Ok(Subscription {
        id: SubscriptionId::from_number(number(row, 0)?),
        tenant_id: tenant_id.clone(),
        endpoint_id: EndpointId::from_number(number(row, 1)?),
        pattern: parsed(row, 2, "pattern")?,
        version: whole(row, 3, "version")?,
        created_at: time(row, 4)?,
        updated_at: time(row, 5)?,
    })
}

/// Every subscription of a tenant, for matching.
pub(super) async fn of_tenant(
    link: &Link,
    tenant: i64,
) -> Result<Vec<(EventTypePattern, EndpointId)>, Trouble> {
    let sql = "SELECT pattern, endpoint_id FROM subscriptions WHERE tenant = $1";
    let rows = link.query(sql, &[&tenant]).await?;
    let read = |row: &Row| Ok((parsed(row, 0, "pattern")?, EndpointId::from_number(number(row, 1)?)));
    rows.iter().map(read).collect()
}
