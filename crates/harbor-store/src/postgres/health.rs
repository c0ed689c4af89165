//! What attempts say of their endpoints: one that is gone, or has failed for long, is disabled.

use harbor_model::chance::Rng;
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::EndpointId;
use harbor_model::notice::Subject;
use harbor_model::port::deliveries::{Health, HealthNews};
use harbor_model::time::Timestamp;

use crate::postgres::database::Tx;
use crate::postgres::notices;
use crate::postgres::registry::raise_directory_version;
use crate::postgres::rows::{bigint, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// An endpoint was disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disabled {
    pub(crate) reason: DisabledReason,
    /// The directory's version after it.
    pub(crate) directory_version: u64,
}

pub(crate) const FAIL: &str = "INSERT INTO failing_endpoints AS f (tenant, endpoint_id, url_version, since)
    SELECT tenant, id, url_version, $4 FROM endpoints
    WHERE tenant = $1 AND id = $2 AND url_version = $3 AND disabled IS NULL AND deleted_at IS NULL
    ON CONFLICT (tenant, endpoint_id) DO UPDATE
    SET since = CASE WHEN f.url_version = EXCLUDED.url_version THEN f.since ELSE EXCLUDED.since END,
        url_version = EXCLUDED.url_version
    RETURNING since";

pub(crate) const WORKS: &str =
    "DELETE FROM failing_endpoints WHERE tenant = $1 AND endpoint_id = $2 AND url_version = $3";

/// Notes what is said of an endpoint of a tenant whose row is locked. Answers what came of it, where the
/// endpoint was disabled by it.
pub(crate) async fn note(
    tx: &Tx,
    rng: &dyn Rng,
    tenant: i64,
    endpoint: EndpointId,
    news: HealthNews,
    now: Timestamp,
) -> Result<Option<Disabled>, Trouble> {
    let url_version = bigint(news.url_version);
    let id = Uuid(endpoint.number());
    let reason = match news.health {
        Health::Gone => DisabledReason::Gone,
        Health::Failing { disable_if_since } => {
            let row = tx.query_opt(FAIL, &[&tenant, &id, &url_version, &now.unix_ms()]).await?;
            let since: Option<i64> = row.map(|row| value(&row, 0)).transpose()?;
            if since.is_none_or(|since| since > disable_if_since.unix_ms()) {
                return Ok(None);
            }
            DisabledReason::Failing
        }
        Health::Working => {
            tx.execute(WORKS, &[&tenant, &id, &url_version]).await?;
            return Ok(None);
        }
    };
    disable(tx, rng, tenant, endpoint, url_version, reason, now).await
}

pub(crate) const DISABLE: &str = "UPDATE endpoints SET disabled = $4, version = version + 1, updated_at = $5
    WHERE tenant = $1 AND id = $2 AND url_version = $3 AND disabled IS NULL AND deleted_at IS NULL";

/// Disables an endpoint, if the URL that gave reason for it is still its own.
async fn disable(
    tx: &Tx,
    rng: &dyn Rng,
    tenant: i64,
    endpoint: EndpointId,
    url_version: i64,
    reason: DisabledReason,
    now: Timestamp,
) -> Result<Option<Disabled>, Trouble> {
    let id = Uuid(endpoint.number());
    let disabled =
        tx.execute(DISABLE, &[&tenant, &id, &url_version, &reason.as_str(), &now.unix_ms()]).await?;
    if disabled == 0 {
        return Ok(None);
    }
    forget(tx, tenant, endpoint).await?;
    notices::tell(tx, rng, tenant, &Subject::EndpointDisabled { endpoint_id: endpoint, reason }, now).await?;
    let directory_version = raise_directory_version(tx, tenant).await?;
    Ok(Some(Disabled { reason, directory_version }))
}

pub(crate) const FORGET: &str = "DELETE FROM failing_endpoints WHERE tenant = $1 AND endpoint_id = $2";

/// Forgets the failures of an endpoint that is no longer what it was.
pub(crate) async fn forget(tx: &Tx, tenant: i64, endpoint: EndpointId) -> Result<(), Trouble> {
    tx.execute(FORGET, &[&tenant, &Uuid(endpoint.number())]).await?;
    Ok(())
}
