//! Circuit breakers that are not closed, a row each.

use std::time::Duration;

use async_trait::async_trait;
use harbor_model::id::{EndpointId, TenantId, WorkerId};
use harbor_model::notice::Subject;
use harbor_model::port::Fault;
use harbor_model::port::breakers::{BREAKERS_LISTED_MAX, BreakerChange, Breakers, OpenBreaker};
use harbor_model::port::deliveries::EndpointKey;
use tokio_postgres::Row;

use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, retried};
use crate::postgres::notices;
use crate::postgres::rows::{bigint, number, number_if_any, parsed, time, value, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl Breakers for PostgresStore {
    async fn open_breaker(
        &self,
        key: &EndpointKey,
        opening: BreakerChange,
    ) -> Result<Option<OpenBreaker>, Fault> {
        retried("open a breaker", async || {
            let tx = self.database.begin_for_workers().await?;
            let opened = tx
                .query_opt(
                    OPEN,
                    &[
                        &key.tenant_id.as_str(),
                        &Uuid(key.endpoint_id.number()),
                        &opening.decided_at.unix_ms(),
                        &opening.probe_at.unix_ms(),
                        &bigint(opening.cooldown.as_millis()),
                        &opening.prober.map(|worker| Uuid(worker.number())),
                    ],
                )
                .await?;
            if let Some(row) = opened {
                let (endpoint_id, next_probe_at) = (key.endpoint_id, opening.probe_at);
                let subject = Subject::CircuitOpened { endpoint_id, next_probe_at };
                notices::tell(&tx, &*self.rng, value(&row, 0)?, &subject, opening.decided_at).await?;
            }
            let found = find(&tx, key).await?;
            tx.commit().await?;
            Ok(found)
        })
        .await
    }

    async fn change_breaker(
        &self,
        key: &EndpointKey,
        version: u64,
        change: Option<BreakerChange>,
    ) -> Result<Option<OpenBreaker>, Fault> {
        retried("change a breaker", async || {
            let link = self.database.read().await?;
            let (tenant, endpoint) = (key.tenant_id.as_str(), Uuid(key.endpoint_id.number()));
            match &change {
                Some(change) => {
                    let prober = change.prober.map(|worker| Uuid(worker.number()));
                    link.execute(
                        CHANGE,
                        &[
                            &tenant,
                            &endpoint,
                            &bigint(version),
                            &change.decided_at.unix_ms(),
                            &change.probe_at.unix_ms(),
                            &bigint(change.cooldown.as_millis()),
                            &prober,
                        ],
                    )
                    .await?
                }
                None => link.execute(CLOSE, &[&tenant, &endpoint, &bigint(version)]).await?,
            };
            find(&link, key).await
        })
        .await
    }

    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, Fault> {
        retried("list breakers", async || {
            let rows = self.database.read().await?.query(LIST, &[&bigint(BREAKERS_LISTED_MAX)]).await?;
            rows.iter().map(|row| read_breaker(row, parsed(row, 7, "tenant id")?)).collect()
        })
        .await
    }

    async fn find_breaker(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
    ) -> Result<Option<OpenBreaker>, Fault> {
        let key = EndpointKey { tenant_id: tenant.clone(), endpoint_id: endpoint };
        retried("find a breaker", async || {
            let link = self.database.browse().await?;
            find(&link, &key).await
        })
        .await
    }
}

/// The endpoint's row is locked against its end, so that no breaker is left behind by one that is gone.
pub(crate) const OPEN: &str = "INSERT INTO breakers
        (tenant, endpoint_id, version, opened_at, decided_at, probe_at, cooldown_ms, prober)
    SELECT e.tenant, e.id, nextval('breaker_versions'), $3, $3, $4, $5, $6
    FROM (SELECT number FROM tenants WHERE id = $1 AND deleted_at IS NULL OFFSET 0) AS t,
    LATERAL (
        SELECT endpoints.tenant, endpoints.id FROM endpoints
        WHERE endpoints.tenant = t.number AND endpoints.id = $2 AND endpoints.deleted_at IS NULL
        FOR SHARE) AS e
    ON CONFLICT (tenant, endpoint_id) DO NOTHING
    RETURNING tenant";

pub(crate) const CHANGE: &str = "UPDATE breakers
    SET version = nextval('breaker_versions'), decided_at = $4, probe_at = $5, cooldown_ms = $6, prober = $7
    WHERE tenant = (SELECT number FROM tenants WHERE id = $1 AND deleted_at IS NULL)
      AND endpoint_id = $2 AND version = $3";

pub(crate) const CLOSE: &str = "DELETE FROM breakers
    WHERE tenant = (SELECT number FROM tenants WHERE id = $1 AND deleted_at IS NULL)
      AND endpoint_id = $2 AND version = $3";

pub(crate) const FIND: &str =
    "SELECT endpoint_id, version, opened_at, decided_at, probe_at, cooldown_ms, prober
    FROM breakers
    WHERE tenant = (SELECT number FROM tenants WHERE id = $1 AND deleted_at IS NULL) AND endpoint_id = $2";

async fn find(link: &Link, key: &EndpointKey) -> Result<Option<OpenBreaker>, Trouble> {
    let row = link.query_opt(FIND, &[&key.tenant_id.as_str(), &Uuid(key.endpoint_id.number())]).await?;
    row.map(|row| read_breaker(&row, key.tenant_id.clone())).transpose()
}

pub(crate) const LIST: &str =
    "SELECT b.endpoint_id, b.version, b.opened_at, b.decided_at, b.probe_at, b.cooldown_ms, b.prober, t.id
    FROM breakers AS b,
    LATERAL (SELECT id FROM tenants WHERE number = b.tenant AND deleted_at IS NULL OFFSET 0) AS t
    ORDER BY b.tenant, b.endpoint_id LIMIT $1";

/// Reads the columns of [`FIND`].
fn read_breaker(row: &Row, tenant_id: TenantId) -> Result<OpenBreaker, Trouble> {
    let cooldown_ms = whole(row, 5, "cooldown")?;
    Ok(OpenBreaker {
        key: EndpointKey { tenant_id, endpoint_id: EndpointId::from_number(number(row, 0)?) },
        version: whole(row, 1, "version of a breaker")?,
        opened_at: time(row, 2)?,
        change: BreakerChange {
            decided_at: time(row, 3)?,
            probe_at: time(row, 4)?,
            cooldown: Duration::from_millis(cooldown_ms),
            prober: number_if_any(row, 6)?.map(WorkerId::from_number),
        },
    })
}
