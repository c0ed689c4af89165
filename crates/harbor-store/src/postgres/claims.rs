//! Claims on idempotency keys that publishes made.

use std::collections::HashMap;

use harbor_model::port::intake::IdempotencyClaim;

use crate::claims::{Held, Scope};
use crate::postgres::database::Link;
use crate::postgres::rows::{number, value, whole};
use crate::postgres::trouble::Trouble;

/// In one order, so that those who slide at once do not wait for each other in a circle.
pub(crate) const SLIDE: &str = "UPDATE idempotency_keys SET expires_at = greatest(expires_at, $4)
    WHERE ctid = ANY(ARRAY(
        SELECT held.ctid FROM unnest($1::bigint[], $2::text[]) AS asked (tenant, key),
        LATERAL (
            SELECT k.ctid FROM idempotency_keys AS k
            WHERE k.tenant = asked.tenant AND k.scope = $3 AND k.key = asked.key OFFSET 0 FOR UPDATE) AS held))";

/// Holds the keys of these claims for longer: all until the last of their ends.
pub(crate) async fn slide_all(
    link: &Link,
    scope: Scope,
    mut claims: Vec<(i64, &IdempotencyClaim)>,
) -> Result<(), Trouble> {
    let Some(end) = claims.iter().map(|(_, claim)| claim.expires_at.unix_ms()).max() else { return Ok(()) };
    claims.sort_by_key(|(tenant, claim)| (*tenant, claim.key.as_str()));
    let tenants: Vec<i64> = claims.iter().map(|(tenant, _)| *tenant).collect();
    let keys: Vec<&str> = claims.iter().map(|(_, claim)| claim.key.as_str()).collect();
    link.execute(SLIDE, &[&tenants, &keys, &scope.as_str(), &end]).await?;
    Ok(())
}

pub(crate) const FIND: &str = "SELECT asked.place, held.made_id, held.fan_out_count, held.fingerprint
    FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS asked (tenant, key, place),
    LATERAL (
        SELECT made_id, fan_out_count, fingerprint FROM idempotency_keys AS k
        WHERE k.tenant = asked.tenant AND k.scope = $3 AND k.key = asked.key OFFSET 0) AS held";

/// Reads what stands against each of these claims, which were in the way a moment ago; none where it has
/// gone.
///
/// It takes a statement of its own: what was in the way may have been committed after the statement began
/// that met it, and is not seen by that one.
pub(crate) async fn find_all(
    link: &Link,
    scope: Scope,
    claims: &[(i64, &IdempotencyClaim)],
) -> Result<Vec<Option<Held>>, Trouble> {
    let tenants: Vec<i64> = claims.iter().map(|(tenant, _)| *tenant).collect();
    let keys: Vec<&str> = claims.iter().map(|(_, claim)| claim.key.as_str()).collect();
    let mut found = HashMap::new();
    for row in link.query(FIND, &[&tenants, &keys, &scope.as_str()]).await? {
        let place: usize = whole(&row, 0, "place")?;
        let fingerprint: &[u8] = value(&row, 3)?;
        let held = if fingerprint == claims[place - 1].1.fingerprint {
            Held::Same { made: number(&row, 1)?, fan_out_count: whole(&row, 2, "fan-out")? }
        } else {
            Held::Other
        };
        found.insert(place - 1, held);
    }
    Ok((0..claims.len()).map(|place| found.remove(&place)).collect())
}
