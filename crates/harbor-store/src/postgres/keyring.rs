//! The tenants' data keys, as they are found and made.

use std::sync::Arc;

use harbor_model::chance::Rng;
use harbor_model::time::Timestamp;

use crate::keyring::{Keyring, data_key_place};
use crate::postgres::database::Link;
use crate::postgres::rows::value;
use crate::postgres::trouble::Trouble;
use crate::seal::{DataKey, draw_data_key};

pub(crate) const FIND_DATA_KEY: &str =
    "SELECT wrapped FROM data_keys WHERE tenant = $1 ORDER BY version DESC LIMIT 1";

/// The key that seals a tenant's secrets. The tenant's beginning must be committed.
pub(crate) async fn data_key(link: &Link, keyring: &Keyring, tenant: i64) -> Result<Arc<DataKey>, Trouble> {
    if let Some(known) = keyring.find(tenant) {
        return Ok(known);
    }
    let row = link.query_opt(FIND_DATA_KEY, &[&tenant]).await?;
    let row = row.ok_or_else(|| Trouble::damaged("data key", "it is missing"))?;
    Ok(keyring.unwrap(tenant, value(&row, 0)?)?)
}

/// Makes the key that will seal the new tenant's secrets.
pub(crate) async fn make_data_key(
    link: &Link,
    keyring: &Keyring,
    rng: &dyn Rng,
    tenant: i64,
    now: Timestamp,
) -> Result<(), Trouble> {
    let master = keyring.master();
    let wrapped = master.wrap(&draw_data_key(rng), &data_key_place(tenant), rng);
    let sql = "INSERT INTO data_keys (tenant, version, master_key, wrapped, created_at)
               VALUES ($1, 1, $2, $3, $4)";
    link.execute(sql, &[&tenant, &master.fingerprint().as_slice(), &wrapped, &now.unix_ms()]).await?;
    Ok(())
}
