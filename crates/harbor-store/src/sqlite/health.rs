//! What attempts say of their endpoints: one that is gone, or fails for days, is disabled.

use harbor_model::endpoint::DisabledReason;
use harbor_model::id::EndpointId;
use harbor_model::notice::Subject;
use harbor_model::port::deliveries::{EndpointKey, Health, HealthNews};
use harbor_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::notices;
use crate::sqlite::rows::blob;
use crate::sqlite::transaction::{TenantMark, Tx};
use crate::sqlite::trouble::Trouble;

/// An endpoint that was disabled by what was said of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disabled {
    pub(crate) reason: DisabledReason,
    /// The directory's version after it.
    pub(crate) directory_version: u64,
}

/// Notes what an attempt says of its endpoint.
pub(crate) fn note(
    tx: &mut Tx<'_>,
    tenant: TenantMark,
    key: &EndpointKey,
    news: HealthNews,
    now: Timestamp,
) -> Result<Option<Disabled>, Trouble> {
    let HealthNews { url_version, health } = news;
    let reason = match health {
        Health::Gone => DisabledReason::Gone,
        Health::Failing { disable_if_since } => {
            let since = fail(tx.conn, tenant.number, key.endpoint_id, url_version, now)?;
            if since.is_none_or(|since| since > disable_if_since) {
                return Ok(None);
            }
            DisabledReason::Failing
        }
        Health::Working => {
            forget_of_url(tx.conn, tenant.number, key.endpoint_id, url_version)?;
            return Ok(None);
        }
    };
    disable(tx, tenant, key, url_version, reason, now)
}

pub(crate) const FAIL: &str = "INSERT INTO failing_endpoints (tenant, endpoint_id, url_version, since)
    SELECT tenant, id, ?3, ?4 FROM endpoints
    WHERE tenant = ?1 AND id = ?2 AND url_version = ?3 AND disabled IS NULL AND deleted_at IS NULL
    ON CONFLICT (tenant, endpoint_id) DO UPDATE
    SET since = CASE WHEN url_version = ?3 THEN since ELSE ?4 END, url_version = ?3
    RETURNING since";

/// Notes that an endpoint fails. Answers since when; none where this is no longer its URL.
fn fail(
    conn: &Connection,
    tenant: i64,
    endpoint: EndpointId,
    url_version: u64,
    now: Timestamp,
) -> Result<Option<Timestamp>, Trouble> {
    let key = (tenant, blob(endpoint.number()), url_version, now.unix_ms());
    let since = conn.prepare_cached(FAIL)?.query_row(key, |row| row.get(0)).optional()?;
    Ok(since.map(Timestamp::from_unix_ms))
}

pub(crate) const FORGET_OF_URL: &str =
    "DELETE FROM failing_endpoints WHERE tenant = ?1 AND endpoint_id = ?2 AND url_version = ?3";

fn forget_of_url(
    conn: &Connection,
    tenant: i64,
    endpoint: EndpointId,
    url_version: u64,
) -> Result<(), Trouble> {
    conn.prepare_cached(FORGET_OF_URL)?.execute((tenant, blob(endpoint.number()), url_version))?;
    Ok(())
}

pub(crate) const FORGET: &str = "DELETE FROM failing_endpoints WHERE tenant = ?1 AND endpoint_id = ?2";

/// Forgets the failures of an endpoint that is no longer what it was.
pub(crate) fn forget(conn: &Connection, tenant: i64, endpoint: EndpointId) -> Result<(), Trouble> {
    conn.prepare_cached(FORGET)?.execute((tenant, blob(endpoint.number())))?;
    Ok(())
}

pub(crate) const DISABLE: &str = "UPDATE endpoints SET disabled = ?4, version = version + 1, updated_at = ?5
    WHERE tenant = ?1 AND id = ?2 AND url_version = ?3 AND disabled IS NULL AND deleted_at IS NULL";

/// Disables an endpoint, if that follows from the URL which is still its own.
fn disable(
    tx: &mut Tx<'_>,
    tenant: TenantMark,
    key: &EndpointKey,
    url_version: u64,
    reason: DisabledReason,
    now: Timestamp,
) -> Result<Option<Disabled>, Trouble> {
    let endpoint = blob(key.endpoint_id.number());
    let disabled = tx.conn.prepare_cached(DISABLE)?.execute((
        tenant.number,
        endpoint,
        url_version,
        reason.as_str(),
        now.unix_ms(),
    ))?;
    if disabled == 0 {
        return Ok(None);
    }
    forget(tx.conn, tenant.number, key.endpoint_id)?;
    if tenant.is_watched {
        let subject = Subject::EndpointDisabled { endpoint_id: key.endpoint_id, reason };
        notices::write(tx, tenant.number, &subject, now)?;
    }
    let directory_version = tx.raise_directory_version(&key.tenant_id)?;
    Ok(Some(Disabled { reason, directory_version }))
}
