//! The requests that came last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::request::Request;

/// The bodies of all kept requests together take at most this much, however many requests may be kept.
const KEPT_BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Says that fewer requests came in time than were waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{received} of {wanted} requests came within {waited:?}")]
pub struct TimedOut {
    /// How many were waited for.
    pub wanted: u64,
    /// How many came.
    pub received: u64,
    /// How long the wait was.
    pub waited: Duration,
}

/// Keeps the last requests and counts all.
#[derive(Debug)]
pub(crate) struct Journal {
    keep: usize,
    kept: Mutex<Kept>,
    total: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    oldest_first: VecDeque<Arc<Request>>,
    body_bytes: usize,
}

impl Journal {
    pub(crate) fn new(keep: usize) -> Journal {
        Journal { keep, kept: Mutex::default(), total: watch::Sender::new(0) }
    }

    pub(crate) fn record(&self, request: Request) {
        if self.keep > 0 {
            self.lock().push(Arc::new(request), self.keep);
        }
        // After the request is kept, so that who waits for the count finds it.
        self.total.send_modify(|total| *total += 1);
    }

    /// The kept requests, oldest first.
    pub(crate) fn requests(&self) -> Vec<Arc<Request>> {
        self.lock().oldest_first.iter().cloned().collect()
    }

    pub(crate) fn total(&self) -> u64 {
        *self.total.borrow()
    }

    /// Forgets all requests and begins to count anew.
    pub(crate) fn clear(&self) {
        *self.lock() = Kept::default();
        self.total.send_replace(0);
    }

    /// Waits until so many requests came since the start or the last `clear`.
    pub(crate) async fn wait_for(&self, wanted: u64, timeout: Duration) -> Result<(), TimedOut> {
        let mut total = self.total.subscribe();
        match tokio::time::timeout(timeout, total.wait_for(|&total| total >= wanted)).await {
            Ok(_count) => Ok(()),
            Err(_elapsed) => Err(TimedOut { wanted, received: self.total(), waited: timeout }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, request: Arc<Request>, keep: usize) {
        self.body_bytes += request.body.len();
        self.oldest_first.push_back(request);
        while self.oldest_first.len() > keep || self.body_bytes > KEPT_BODY_BYTES_MAX {
            let Some(oldest) = self.oldest_first.pop_front() else { return };
            self.body_bytes -= oldest.body.len();
        }
    }
}

#[cfg(test)]
mod tests;
