//! What was read of keys a moment ago, so that not every request asks the store.

use std::collections::HashMap;
use std::time::Duration;

use harbor_model::api_key::{ApiKey, ApiKeyHash};
use harbor_model::id::{ApiKeyId, TenantId};

/// How long a key is believed to be as it was read: revoked on another node, it works no longer here.
pub(crate) const BELIEVED: Duration = Duration::from_secs(1);

/// The most keys that are remembered.
const KNOWN_MAX: usize = 10_000;

/// The most hashes that are remembered to be nobody's, so that guesses cannot fill the memory.
const UNKNOWN_MAX: usize = 1_000;

/// Remembers keys by their hash.
#[derive(Debug, Default)]
pub(crate) struct KeyCache {
    known: HashMap<ApiKeyHash, Seen<ApiKey>>,
    unknown: HashMap<ApiKeyHash, Seen<()>>,
    generation: u64,
}

#[derive(Debug)]
struct Seen<T> {
    what: T,
    at: Duration,
}

impl<T> Seen<T> {
    fn is_believed(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) < BELIEVED
    }
}

/// Names the state of the cache when a read began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// What the cache knows of a hash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Remembered<'a> {
    /// It is this key's, or nobody's.
    Known(Option<&'a ApiKey>),
    /// Nothing; ask the store, and say then when this was.
    Nothing(Generation),
}

impl KeyCache {
    /// What is known of `hash` at `now`.
    pub(crate) fn find(&self, hash: &ApiKeyHash, now: Duration) -> Remembered<'_> {
        if let Some(seen) = self.known.get(hash).filter(|seen| seen.is_believed(now)) {
            return Remembered::Known(Some(&seen.what));
        }
        if self.unknown.get(hash).is_some_and(|seen| seen.is_believed(now)) {
            return Remembered::Known(None);
        }
        Remembered::Nothing(Generation(self.generation))
    }

    /// Remembers what a read that began at `began` has found.
    ///
    /// A key that was forgotten meanwhile may have been read before it was revoked, so nothing is
    /// remembered then.
    pub(crate) fn remember(
        &mut self,
        hash: ApiKeyHash,
        found: Option<ApiKey>,
        began: Duration,
        generation: Generation,
    ) {
        if generation.0 != self.generation {
            return;
        }
        match found {
            Some(key) => insert(&mut self.known, KNOWN_MAX, hash, Seen { what: key, at: began }),
            None => {
                self.known.remove(&hash);
                insert(&mut self.unknown, UNKNOWN_MAX, hash, Seen { what: (), at: began });
            }
        }
    }

    /// Forgets a key.
    pub(crate) fn forget(&mut self, id: ApiKeyId) {
        self.generation += 1;
        self.known.retain(|_, seen| seen.what.id != id);
    }

    /// Forgets all keys of a tenant.
    pub(crate) fn forget_tenant(&mut self, tenant: &TenantId) {
        self.generation += 1;
        self.known.retain(|_, seen| seen.what.tenant_id.as_ref() != Some(tenant));
    }
}

/// Adds an entry; a full map first loses what is no longer believed, and all if that makes no room.
fn insert<T>(map: &mut HashMap<ApiKeyHash, Seen<T>>, max: usize, hash: ApiKeyHash, seen: Seen<T>) {
    if map.len() >= max && !map.contains_key(&hash) {
        let now = seen.at;
        map.retain(|_, old| old.is_believed(now));
        if map.len() >= max {
            map.clear();
        }
    }
    map.insert(hash, seen);
}

#[cfg(test)]
mod tests;
