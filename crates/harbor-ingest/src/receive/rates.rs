//! How much each source may still take in, in this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use harbor_model::decide::rate::TokenBucket;
use harbor_model::id::SourceId;
use harbor_model::policy::RateLimit;
use harbor_model::time::Timestamp;

/// The most sources that are kept in mind. Beyond them requests pass uncounted.
const SOURCES_MAX: usize = 100_000;

/// A bucket for each source with a rate.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<SourceId, TokenBucket>>);

impl Rates {
    /// Takes one request of a source's rate; or tells when the next one may come.
    pub(super) fn take(&self, id: SourceId, limit: RateLimit, now: Timestamp) -> Result<(), Timestamp> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= SOURCES_MAX && !buckets.contains_key(&id) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= SOURCES_MAX {
                return Ok(());
            }
        }
        let known = buckets.remove(&id);
        let mut bucket =
            TokenBucket::renewed(known, Some(limit), now).expect("there is a limit, so there is a bucket");
        let taken = bucket.take(now);
        buckets.insert(id, bucket);
        taken
    }
}
