//! The refill: takes what is due from the store into lanes that have room.
//!
//! Every second it walks over the endpoints that have due work, which also sweeps up whatever nobody
//! announced. In between it looks where a retry is due, where a delivery was announced, and where a
//! lane has run low while the store had more. Whatever it finds joins the queue of lanes that want more, and
//! is served in turn: who comes first in the walk has no more of the room than who comes last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use harbor_model::directory::{EndpointView, TenantSnapshot};
use harbor_model::event::EventBody;
use harbor_model::id::EventId;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{DueEndpoint, EndpointKey, Lease, LeaseAsk};
use harbor_model::time::Timestamp;
use tracing::error;

use crate::worker::{Inner, Work, wishes};

/// Refills until the worker stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let clock = &inner.deps.clock;
    let mut walk_at = clock.now();
    let mut nudge_at = walk_at;
    while !inner.stopping.is_cancelled() {
        let now = clock.now();
        if inner.has_trouble() {
            rest(&inner, now + inner.settings.trouble_pause).await;
            inner.is_troubled.store(false, Ordering::Relaxed);
            continue;
        }
        if inner.acting().is_none() {
            // The beat that is confirmed wakes it.
            wait(&inner, now + inner.settings.refill_interval).await;
            continue;
        }
        let result = if now >= walk_at {
            walk_at = now + inner.settings.refill_interval;
            nudge_at = now + inner.settings.nudge_interval;
            walk(&inner).await
        } else if inner.is_nudged() && now >= nudge_at {
            nudge_at = now + inner.settings.nudge_interval;
            stroll(&inner).await
        } else {
            look(&inner).await
        };
        if let Err(fault) = result {
            error!(worker_id = %inner.id(), %fault, "cannot take work from the store: {fault}");
            walk_at = clock.now() + inner.settings.refill_interval;
            nudge_at = walk_at;
            rest(&inner, walk_at).await;
            continue;
        }
        let look_at = inner.wakeups().next().unwrap_or(walk_at);
        let nudge_at = if inner.is_nudged() { nudge_at } else { walk_at };
        wait(&inner, walk_at.min(look_at).min(nudge_at)).await;
    }
}

/// Waits until `instant`, or until there is something to look at.
async fn wait(inner: &Inner, instant: Timestamp) {
    tokio::select! {
        biased;
        () = inner.stopping.cancelled() => {}
        // Results are recorded many at a time: those that come with the first one are looked at with it.
        () = inner.look.notified() => tokio::task::yield_now().await,
        () = inner.deps.clock.sleep_until(instant) => {}
    }
}

/// Waits until `instant`, whatever there is to look at.
async fn rest(inner: &Inner, instant: Timestamp) {
    tokio::select! {
        biased;
        () = inner.stopping.cancelled() => {}
        () = inner.deps.clock.sleep_until(instant) => {}
    }
}

/// Walks over all endpoints that have due work, and sees to everything that is seen to now and then.
pub(super) async fn walk(inner: &Arc<Inner>) -> Result<(), Fault> {
    inner.lanes().forget_idle(inner.deps.clock.now());
    inner.prepared.forget_unused();
    wishes::adopt(inner).await?;
    stroll(inner).await
}

/// Walks over the endpoints that have due work, from where the last walk ended for want of places to note
/// them, and takes what the lanes have room for.
async fn stroll(inner: &Arc<Inner>) -> Result<(), Fault> {
    let mut walked_to = inner.walked_to.lock().await;
    // Before anything is read: who nudges meanwhile is heard by the next one.
    inner.hear_nudge();
    let now = inner.deps.clock.now();
    serve(inner, now).await?;
    let limit = inner.settings.refill_endpoints;
    let began_after = walked_to.take();
    let mut after = began_after.clone();
    let mut is_second_half = began_after.is_none();
    while !inner.stopping.is_cancelled() {
        let due = inner.deps.deliveries.due_endpoints(now, after.clone(), limit).await?;
        let noted = note(inner, now, &due).await?;
        serve(inner, now).await?;
        if noted < due.len() {
            *walked_to = noted.checked_sub(1).map_or(after, |last| Some(due[last].key.clone()));
            return Ok(());
        }
        let is_round =
            is_second_half && due.iter().any(|endpoint| Some(&endpoint.key) == began_after.as_ref());
        if due.len() == limit && !is_round {
            after = due.last().map(|endpoint| endpoint.key.clone());
        } else if is_second_half {
            inner.lanes().all_are_noted();
            return Ok(());
        } else {
            (after, is_second_half) = (None, true);
        }
    }
    Ok(())
}

/// Notes endpoints that have due work, in their order. Answers how many there was a place for.
async fn note(inner: &Arc<Inner>, now: Timestamp, due: &[DueEndpoint]) -> Result<usize, Fault> {
    let mut views = Vec::with_capacity(due.len());
    let mut snapshot: Option<Arc<TenantSnapshot>> = None;
    for DueEndpoint { key, directory_version, .. } in due {
        let is_of_tenant = |snapshot: &Arc<TenantSnapshot>| snapshot.tenant.id == key.tenant_id;
        if !snapshot.as_ref().is_some_and(is_of_tenant) {
            inner.deps.directory.observe(&key.tenant_id, *directory_version);
            snapshot = inner.deps.directory.tenant(&key.tenant_id).await?;
        }
        views.push(snapshot.as_ref().and_then(|snapshot| open_endpoint(snapshot, key)));
    }
    let mut lanes = inner.lanes();
    let is_noted = |(endpoint, view): &(&DueEndpoint, Option<Arc<EndpointView>>)| {
        view.as_ref().is_none_or(|view| lanes.note_due(&endpoint.key, Some(view), now))
    };
    Ok(due.iter().zip(views).take_while(is_noted).count())
}

/// Takes what is due at the endpoints that are worth a look.
pub(super) async fn look(inner: &Arc<Inner>) -> Result<(), Fault> {
    let _turn = inner.walked_to.lock().await;
    serve(inner, inner.deps.clock.now()).await
}

/// Serves the lanes that want more, those that are due to be looked at among them.
async fn serve(inner: &Arc<Inner>, now: Timestamp) -> Result<(), Fault> {
    let due = inner.wakeups().take(now);
    let keys = {
        let mut lanes = inner.lanes();
        for key in &due {
            // Without a place for it, the walk finds it.
            lanes.note_due(key, None, now);
        }
        lanes.take_hungry()
    };
    let result = take(inner, now, keys).await;
    inner.pump();
    result
}

/// Leases what is due at these endpoints, as far as their lanes have room, and fills it in.
async fn take(inner: &Arc<Inner>, now: Timestamp, keys: Vec<EndpointKey>) -> Result<(), Fault> {
    let Some(me) = inner.acting().filter(|_| !keys.is_empty()) else { return Ok(()) };
    let mut open = Vec::with_capacity(keys.len());
    for key in keys {
        let snapshot = inner.deps.directory.tenant(&key.tenant_id).await?;
        if let Some(view) = snapshot.and_then(|snapshot| open_endpoint(&snapshot, &key)) {
            open.push((key, view));
        }
    }
    let room = Room::reserve(inner, &open, now);
    if room.asks.is_empty() {
        return Ok(());
    }
    let leases = inner.deps.deliveries.lease(me, now, room.asks.clone()).await?;
    if inner.has_trouble() {
        // What could not be recorded meanwhile may be among them; dropped, they wait with the rest.
        return Ok(());
    }
    inner.taken.fetch_add(leases.len(), Ordering::Relaxed);
    let works = load(inner, leases).await?;
    room.fill(works);
    Ok(())
}

/// The endpoint, unless it takes nothing now.
fn open_endpoint(snapshot: &TenantSnapshot, key: &EndpointKey) -> Option<Arc<EndpointView>> {
    let view = snapshot.endpoints.get(&key.endpoint_id);
    view.filter(|view| !view.endpoint.paused && view.endpoint.disabled.is_none()).cloned()
}

/// Room reserved for what is about to be leased. Dropping it frees what was not filled.
struct Room<'a> {
    inner: &'a Arc<Inner>,
    asks: Vec<LeaseAsk>,
    unused: BTreeMap<EndpointKey, usize>,
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
            lanes.release_unused(key, *unused);
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
            let bodies: BTreeMap<EventId, Arc<EventBody>> =
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
