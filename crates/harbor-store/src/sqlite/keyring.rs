//! The tenants' data keys, as readers find them. The writer keeps those that it sees to itself, since it
//! sees them before their commit.

use std::sync::Arc;

use rusqlite::Connection;

use crate::keyring::Keyring;
use crate::seal::DataKey;
use crate::sqlite::transaction::load_wrapped_key;
use crate::sqlite::trouble::Trouble;

/// The key of a tenant, for a reader.
pub(crate) fn data_key(keyring: &Keyring, conn: &Connection, tenant: i64) -> Result<Arc<DataKey>, Trouble> {
    if let Some(known) = keyring.find(tenant) {
        return Ok(known);
    }
    Ok(keyring.unwrap(tenant, &load_wrapped_key(conn, tenant)?)?)
}
