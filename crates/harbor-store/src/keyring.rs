//! The tenants' data keys, unwrapped once; and what they seal, as text.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use harbor_model::header::CustomHeader;
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::damaged::Damaged;
use crate::seal::{DataKey, MasterKey};

/// The most keys kept unwrapped.
const KEYS_KEPT_MAX: usize = 10_000;

/// The master key, and the data keys that were unwrapped.
///
/// Only committed keys come in here.
pub(crate) struct Keyring {
    master: MasterKey,
    unwrapped: Mutex<HashMap<i64, Arc<DataKey>>>,
}

impl Keyring {
    pub(crate) fn new(master: MasterKey) -> Self {
        Self { master, unwrapped: Mutex::default() }
    }

    pub(crate) fn master(&self) -> &MasterKey {
        &self.master
    }

    /// The key of a tenant, if it was unwrapped before.
    pub(crate) fn find(&self, tenant: i64) -> Option<Arc<DataKey>> {
        self.unwrapped.lock().expect("no holder panics").get(&tenant).cloned()
    }

    /// Unwraps the key of a tenant, as it is stored, and keeps it at hand.
    pub(crate) fn unwrap(&self, tenant: i64, wrapped: &[u8]) -> Result<Arc<DataKey>, Damaged> {
        let key = Arc::new(unwrap_data_key(&self.master, tenant, wrapped)?);
        let mut unwrapped = self.unwrapped.lock().expect("no holder panics");
        if unwrapped.len() >= KEYS_KEPT_MAX {
            unwrapped.clear();
        }
        unwrapped.insert(tenant, key.clone());
        Ok(key)
    }
}

/// Takes the stored data key of a tenant out of its wrapping.
pub(crate) fn unwrap_data_key(master: &MasterKey, tenant: i64, wrapped: &[u8]) -> Result<DataKey, Damaged> {
    master.unwrap(wrapped, &data_key_place(tenant)).map_err(|broken| Damaged::new("data key", broken))
}

/// Binds a wrapped data key to its row.
pub(crate) fn data_key_place(tenant: i64) -> String {
    format!("data_keys/{tenant}")
}

/// What is sealed. Its name binds the sealed value to its column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sealed {
    EndpointSecrets,
    EndpointHeaders,
    SourceSecrets,
}

impl Sealed {
    /// Binds a sealed value to its row, which has this id, and its column.
    pub(crate) fn place(self, tenant: i64, id: impl Display) -> String {
        let (table, column) = match self {
            Self::EndpointSecrets => ("endpoints", "secrets"),
            Self::EndpointHeaders => ("endpoints", "headers"),
            Self::SourceSecrets => ("sources", "secrets"),
        };
        format!("{table}/{tenant}/{id}/{column}")
    }
}

/// A secret as it is written into the text that is sealed.
#[derive(Serialize, Deserialize)]
pub(crate) struct SecretJson {
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<i64>,
}

impl SecretJson {
    pub(crate) fn of(known: &TimedSecret) -> Self {
        Self {
            secret: known.secret.expose().to_owned(),
            expires_at_ms: known.expires_at.map(Timestamp::unix_ms),
        }
    }

    pub(crate) fn into_secret(mut self) -> TimedSecret {
        TimedSecret {
            secret: Secret::new(std::mem::take(&mut self.secret)),
            expires_at: self.expires_at_ms.map(Timestamp::from_unix_ms),
        }
    }
}

impl Drop for SecretJson {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
struct HeaderJson {
    name: String,
    value: String,
}

impl Drop for HeaderJson {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// Writes secrets as the text that is sealed.
pub(crate) fn secrets_to_plain(secrets: &[TimedSecret]) -> Zeroizing<Vec<u8>> {
    let json: Vec<SecretJson> = secrets.iter().map(SecretJson::of).collect();
    Zeroizing::new(serde_json::to_vec(&json).expect("texts make JSON"))
}

/// Reads what [`secrets_to_plain`] wrote.
pub(crate) fn secrets_from_plain(plain: &[u8]) -> Result<Vec<TimedSecret>, Damaged> {
    let json: Vec<SecretJson> =
        serde_json::from_slice(plain).map_err(|error| Damaged::new("secrets", error))?;
    Ok(json.into_iter().map(SecretJson::into_secret).collect())
}

/// Writes headers as the text that is sealed.
pub(crate) fn headers_to_plain(headers: &[CustomHeader]) -> Zeroizing<Vec<u8>> {
    let json: Vec<HeaderJson> = headers
        .iter()
        .map(|header| HeaderJson { name: header.name.clone(), value: header.value.expose().to_owned() })
        .collect();
    Zeroizing::new(serde_json::to_vec(&json).expect("texts make JSON"))
}

/// Reads what [`headers_to_plain`] wrote.
pub(crate) fn headers_from_plain(plain: &[u8]) -> Result<Vec<CustomHeader>, Damaged> {
    let json: Vec<HeaderJson> =
        serde_json::from_slice(plain).map_err(|error| Damaged::new("headers", error))?;
    let header = |mut known: HeaderJson| CustomHeader {
        name: std::mem::take(&mut known.name),
        value: Secret::new(std::mem::take(&mut known.value)),
    };
    Ok(json.into_iter().map(header).collect())
}

/// Opens a sealed column.
pub(crate) fn open(key: &DataKey, sealed: &[u8], place: &str) -> Result<Zeroizing<Vec<u8>>, Damaged> {
    key.open(sealed, place).map_err(|broken| Damaged::new("secret", broken))
}
