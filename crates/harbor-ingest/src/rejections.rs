//! What sources refused, on its way to their owners: gathered here, written down every now and then.
//!
//! Anybody can make a source refuse a request, so that must cost little: no request waits for the store, and
//! however many come, few are written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use harbor_model::id::{SourceId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::sources::{Refused, Rejections};
use harbor_model::source::{REJECTIONS_KEPT, Rejected};
use harbor_model::time::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// So long is gathered between two writes.
const SETTLE_INTERVAL: Duration = Duration::from_millis(250);

/// The most refused requests that wait to be written, of all sources. Of those beyond it only the count is kept.
const WAITING_MAX: usize = 1_000;

/// The most sources of which something waits. What others refuse meanwhile is in the metrics alone.
const SOURCES_MAX: usize = 1_000;

/// Keeps what sources refuse.
pub struct RejectionLog {
    store: Arc<dyn Rejections>,
    waiting: Mutex<Waiting>,
    is_wanted: Notify,
    /// Held while something is written, so that who reads sees what was noted before.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    of_source: BTreeMap<SourceId, Tally>,
    kept: usize,
}

struct Tally {
    tenant_id: TenantId,
    count: u64,
    newest: VecDeque<Rejected>,
}

impl RejectionLog {
    /// A log that writes into `store`.
    pub fn new(store: Arc<dyn Rejections>) -> Self {
        Self {
            store,
            waiting: Mutex::default(),
            is_wanted: Notify::new(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Notes a refused request.
    pub(crate) fn note(&self, rejected: Rejected) {
        let mut waiting = self.waiting();
        let Waiting { of_source, kept } = &mut *waiting;
        if of_source.len() >= SOURCES_MAX && !of_source.contains_key(&rejected.source_id) {
            return;
        }
        let tally = of_source.entry(rejected.source_id).or_insert_with(|| Tally {
            tenant_id: rejected.tenant_id.clone(),
            count: 0,
            newest: VecDeque::new(),
        });
        tally.count += 1;
        if tally.newest.len() == REJECTIONS_KEPT {
            tally.newest.pop_front();
            *kept -= 1;
        }
        if *kept < WAITING_MAX {
            tally.newest.push_back(rejected);
            *kept += 1;
        }
        drop(waiting);
        self.is_wanted.notify_one();
    }

    /// The last requests that a source refused, newest first; with all that was noted here.
    ///
    /// # Errors
    /// The store failed.
    pub async fn of_source(
        &self,
        tenant: &TenantId,
        source: SourceId,
        page: PageAsk,
    ) -> Result<Page<Rejected>, Fault> {
        self.settle().await?;
        self.store.rejections(tenant, source, page).await
    }

    /// Writes down what waits.
    ///
    /// # Errors
    /// The store failed. What waited goes on waiting.
    pub async fn settle(&self) -> Result<(), Fault> {
        let _writing = self.writing.lock().await;
        let taken = std::mem::take(&mut *self.waiting());
        if taken.of_source.is_empty() {
            return Ok(());
        }
        let refused = |(source_id, tally): (&SourceId, &Tally)| Refused {
            tenant_id: tally.tenant_id.clone(),
            source_id: *source_id,
            count: tally.count,
            newest: tally.newest.iter().cloned().collect(),
        };
        let written = self.store.note_rejections(taken.of_source.iter().map(refused).collect()).await;
        if written.is_err() {
            self.put_back(taken);
        }
        written
    }

    /// Puts what could not be written before what came since.
    fn put_back(&self, taken: Waiting) {
        let mut waiting = self.waiting();
        let since = std::mem::replace(&mut *waiting, taken);
        for (source_id, tally) in since.of_source {
            match waiting.of_source.get_mut(&source_id) {
                Some(known) => {
                    known.count += tally.count;
                    known.newest.extend(tally.newest);
                    let surplus = known.newest.len().saturating_sub(REJECTIONS_KEPT);
                    known.newest.drain(..surplus);
                }
                None => {
                    waiting.of_source.insert(source_id, tally);
                }
            }
        }
        waiting.kept = waiting.of_source.values().map(|tally| tally.newest.len()).sum();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it is held")
    }
}

/// Writes down what is refused, soon after it was, until `shutdown`, and a last time then.
pub async fn run(log: Arc<RejectionLog>, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
    loop {
        let is_last = tokio::select! {
            biased;
            () = shutdown.cancelled() => true,
            () = log.is_wanted.notified() => false,
        };
        if let Err(fault) = log.settle().await {
            warn!(%fault, "cannot write down what sources refused, trying again: {fault}");
            log.is_wanted.notify_one();
        }
        if is_last {
            return;
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = clock.sleep_until(clock.now() + SETTLE_INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests;
