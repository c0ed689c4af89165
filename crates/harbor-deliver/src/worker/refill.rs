//! The refill: takes what is due from the store into lanes that have room.
//!
//! Every second it walks over the endpoints that have due work, which also sweeps up whatever nobody
//! announced. In between it looks where a retry is due, where a delivery was announced, and where a
//! lane has run low while the store had more.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use harbor_model::directory::EndpointView;
use harbor_model::event::EventBody;
use harbor_model::id::EventId;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{EndpointKey, Lease, LeaseAsk};
use harbor_model::time::Timestamp;
use tracing::error;

use crate::worker::{Inner, Work};

/// Refills until the worker stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut walk_at = inner.deps.clock.now();
    while !inner.stopping.is_cancelled() {
        let now = inner.deps.clock.now();
        let result = if inner.has_trouble() {
            let pause_ends_at = now + inner.settings.trouble_pause;
            tokio::select! {
                () = inner.deps.clock.sleep_until(pause_ends_at) => {}
                () = inner.stopping.cancelled() => return,
            }
            inner.is_troubled.store(false, Ordering::Relaxed);
            Ok(0)
        } else if now >= walk_at {
            walk_at = now + inner.settings.refill_interval;
            inner.lanes().forget_idle(now);
            inner.prepared.forget_unused();
            walk(&inner).await
        } else {
            look(&inner, now).await
        };
        if let Err(fault) = result {
            error!(worker_id = %inner.id, %fault, "cannot take work from the store: {fault}");
            walk_at = inner.deps.clock.now() + inner.settings.refill_interval;
        }
        inner.pump();

        let wake_at = inner.wakeups().next().map_or(walk_at, |instant| instant.min(walk_at));
        tokio::select! {
            () = inner.deps.clock.sleep_until(wake_at) => {}
            () = inner.look.notified() => {}
            () = inner.stopping.cancelled() => {}
        }
    }
}

/// Walks over all endpoints that have due work and takes what the lanes have room for.
pub(super) async fn walk(inner: &Arc<Inner>) -> Result<usize, Fault> {
    let now = inner.deps.clock.now();
    let mut taken = look(inner, now).await?;
    let mut after = None;
    loop {
        let limit = inner.settings.refill_endpoints;
        let due = inner.deps.deliveries.due_endpoints(now, after, limit).await?;
        for endpoint in &due {
            inner.deps.directory.observe(&endpoint.key.tenant_id, endpoint.directory_version);
        }
        let is_last = due.len() < limit;
        after = due.last().map(|endpoint| endpoint.key.clone());
        taken += take(inner, now, due.into_iter().map(|endpoint| endpoint.key).collect()).await?;
        if is_last || inner.stopping.is_cancelled() {
            inner.pump();
            return Ok(taken);
        }
    }
}

/// Takes what is due at the endpoints that are worth a look.
async fn look(inner: &Arc<Inner>, now: Timestamp) -> Result<usize, Fault> {
    let mut keys = inner.wakeups().take(now);
    keys.extend(inner.lanes().take_hungry());
    keys.sort_unstable();
    keys.dedup();
    take(inner, now, keys).await
}

/// Leases what is due at these endpoints, as far as their lanes have room, and fills it in.
async fn take(inner: &Arc<Inner>, now: Timestamp, keys: Vec<EndpointKey>) -> Result<usize, Fault> {
    if keys.is_empty() {
        return Ok(0);
    }
    let mut open = Vec::with_capacity(keys.len());
    for key in keys {
        if let Some(view) = open_endpoint(inner, &key).await? {
            open.push((key, view));
        }
    }
    let room = Room::reserve(inner, &open, now);
    if room.asks.is_empty() {
        return Ok(0);
    }
    let leases = inner.deps.deliveries.lease(inner.id, now, room.asks.clone()).await?;
    let taken = leases.len();
    let works = load(inner, leases).await?;
    room.fill(works);
    inner.pump();
    Ok(taken)
}

/// The endpoint, unless it takes nothing now.
async fn open_endpoint(inner: &Inner, key: &EndpointKey) -> Result<Option<Arc<EndpointView>>, Fault> {
    let Some(snapshot) = inner.deps.directory.tenant(&key.tenant_id).await? else { return Ok(None) };
    let view = snapshot.endpoints.get(&key.endpoint_id);
    Ok(view.filter(|view| !view.endpoint.paused && view.endpoint.disabled.is_none()).cloned())
}

/// Room reserved for what is about to be leased. Dropping it frees what was not filled.
struct Room<'a> {
    inner: &'a Arc<Inner>,
    asks: Vec<LeaseAsk>,
    unused: HashMap<EndpointKey, usize>,
}

impl<'a> Room<'a> {
    fn reserve(inner: &'a Arc<Inner>, open: &[(EndpointKey, Arc<EndpointView>)], now: Timestamp) -> Self {
        let mut asks = Vec::with_capacity(open.len());
        let mut lanes = inner.lanes();
        // Equal parts, or the first endpoints would take all the room for work that they may not have.
        // A lane that gets all it asked for asks again at once.
        let part = lanes.room().div_ceil(open.len().max(1));
        for (key, view) in open {
            let count = lanes.reserve_up_to(key, view, part, now);
            if count > 0 {
                asks.push(LeaseAsk { key: key.clone(), count });
            }
        }
        let unused = asks.iter().map(|ask| (ask.key.clone(), ask.count)).collect();
        Self { inner, asks, unused }
    }

    /// Fills in what was leased. A lane that got all it asked for may find more.
    fn fill(mut self, works: Vec<Work>) {
        for work in &works {
            let unused = self.unused.get_mut(&work.lease.delivery.key).expect("what is leased was asked for");
            *unused = unused.checked_sub(1).expect("no more is leased than was asked for");
        }
        {
            let mut lanes = self.inner.lanes();
            let full = self.unused.iter().filter(|(_, unused)| **unused == 0);
            full.for_each(|(key, _)| lanes.note_more(key));
        }
        self.inner.fill(works);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut lanes = self.inner.lanes();
        for (key, unused) in &self.unused {
            for _ in 0..*unused {
                lanes.release(key, 0);
            }
        }
        let is_hungry = lanes.has_hungry();
        drop(lanes);
        self.inner.left.notify_waiters();
        if is_hungry {
            self.inner.look.notify_one();
        }
    }
}

/// Reads the bodies of what was leased, as far as the budget goes; the rest is read when its turn comes.
async fn load(inner: &Arc<Inner>, leases: Vec<Lease>) -> Result<Vec<Work>, Fault> {
    let mut works = Vec::with_capacity(leases.len());
    let mut asks = Vec::new();
    {
        let mut lanes = inner.lanes();
        for lease in leases {
            let delivery = &lease.delivery;
            let body = inner.bodies.find(delivery.event_id);
            let fits = lanes.weigh(&delivery.key, delivery.payload_bytes);
            if fits && body.is_none() {
                asks.push((delivery.key.tenant_id.clone(), delivery.event_id));
            }
            let bytes = if fits { delivery.payload_bytes } else { 0 };
            works.push(Work { lease, body, bytes });
        }
    }
    if asks.is_empty() {
        return Ok(works);
    }
    asks.sort_unstable();
    asks.dedup();
    let loaded = inner.deps.deliveries.load_events(asks).await;
    match loaded {
        Ok(bodies) => {
            let bodies: HashMap<EventId, Arc<EventBody>> =
                bodies.into_iter().flatten().map(|body| (body.id, body)).collect();
            for work in works.iter_mut().filter(|work| work.body.is_none() && work.bytes > 0) {
                work.body = bodies.get(&work.lease.delivery.event_id).cloned();
            }
            bodies.values().for_each(|body| inner.bodies.keep(body));
            Ok(works)
        }
        Err(fault) => {
            // Their bytes were weighed and are not held: take them back with the leases.
            let mut lanes = inner.lanes();
            works.iter().for_each(|work| lanes.unweigh(&work.lease.delivery.key, work.bytes));
            Err(fault)
        }
    }
}
