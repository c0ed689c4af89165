//! Claims on idempotency keys.

use harbor_model::time::Timestamp;
use rusqlite::OptionalExtension;

use crate::claims::{Held, Scope};
use crate::sqlite::rows::blob;
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;

/// A claim to be made.
pub(crate) struct Claim<'a> {
    pub(crate) tenant: i64,
    pub(crate) scope: Scope,
    pub(crate) key: &'a str,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) expires_at: Timestamp,
    /// Whether a repeat moves the end of the one in force.
    pub(crate) slides: bool,
}

pub(crate) const FIND: &str = "SELECT made_id, fan_out_count, fingerprint FROM idempotency_keys
    WHERE tenant = ?1 AND scope = ?2 AND key = ?3 AND expires_at > ?4";

/// Looks for a claim on the key that is in force at `now`.
pub(crate) fn find(tx: &Tx<'_>, claim: &Claim<'_>, now: Timestamp) -> Result<Option<Held>, Trouble> {
    let found = tx
        .conn
        .prepare_cached(FIND)?
        .query_row((claim.tenant, claim.scope.as_str(), claim.key, now.unix_ms()), |row| {
            Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, u32>(1)?, row.get::<_, [u8; 32]>(2)?))
        })
        .optional()?;
    Ok(found.map(|(made, fan_out_count, fingerprint)| {
        if fingerprint != claim.fingerprint {
            return Held::Other;
        }
        Held::Same { made: u128::from_be_bytes(made), fan_out_count }
    }))
}

pub(crate) const TAKE: &str = "INSERT INTO idempotency_keys
        (tenant, scope, key, made_id, fan_out_count, fingerprint, expires_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (tenant, scope, key) DO UPDATE
    SET made_id = ?4, fan_out_count = ?5, fingerprint = ?6, expires_at = ?7 WHERE expires_at <= ?8";

/// Takes the key at `now`; also one whose window is over, which nobody has forgotten yet. False where
/// it is held.
pub(crate) fn take(
    tx: &Tx<'_>,
    claim: &Claim<'_>,
    made: u128,
    fan_out_count: u32,
    now: Timestamp,
) -> Result<bool, Trouble> {
    let taken = tx.conn.prepare_cached(TAKE)?.execute((
        claim.tenant,
        claim.scope.as_str(),
        claim.key,
        blob(made),
        fan_out_count,
        claim.fingerprint,
        claim.expires_at.unix_ms(),
        now.unix_ms(),
    ))?;
    Ok(taken == 1)
}

pub(crate) const SLIDE: &str = "UPDATE idempotency_keys SET expires_at = max(expires_at, ?4)
    WHERE tenant = ?1 AND scope = ?2 AND key = ?3";

/// Holds the key for longer.
pub(crate) fn slide(tx: &Tx<'_>, claim: &Claim<'_>) -> Result<(), Trouble> {
    let key = (claim.tenant, claim.scope.as_str(), claim.key, claim.expires_at.unix_ms());
    tx.conn.prepare_cached(SLIDE)?.execute(key)?;
    Ok(())
}

pub(crate) const RELEASE: &str = "DELETE FROM idempotency_keys WHERE tenant = ?1 AND scope = ?2 AND key = ?3";

/// Lets go of the key, whoever holds it.
pub(crate) fn release(tx: &Tx<'_>, claim: &Claim<'_>) -> Result<(), Trouble> {
    tx.conn.prepare_cached(RELEASE)?.execute((claim.tenant, claim.scope.as_str(), claim.key))?;
    Ok(())
}
