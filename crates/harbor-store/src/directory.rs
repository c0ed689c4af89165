//! Keeps tenants' snapshots in memory, whatever store they are read from.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use harbor_model::address::AddressPolicy;
use harbor_model::decide::fan_out::Routes;
use harbor_model::directory::{EndpointView, TenantSnapshot};
use harbor_model::endpoint::Endpoint;
use harbor_model::event_type::EventTypePattern;
use harbor_model::id::{EndpointId, TenantId};
use harbor_model::policy::quota::Quota;
use harbor_model::policy::{InstancePolicy, Layers, Policy};
use harbor_model::port::Fault;
use harbor_model::source::Source;
use harbor_model::tenant::Tenant;

/// What the instance's settings say for every tenant.
#[derive(Clone, Debug, Default)]
pub struct InstanceLayer {
    /// What holds where neither tenant nor endpoint says so.
    pub policy: InstancePolicy,
    /// What every tenant's endpoints may connect to.
    pub addresses: AddressPolicy,
}

/// What a store reads of one tenant, at one moment.
pub(crate) struct TenantRows {
    pub tenant: Tenant,
    pub directory_version: u64,
    pub endpoints: Vec<Endpoint>,
    pub subscriptions: Vec<(EventTypePattern, EndpointId)>,
    pub sources: Vec<Source>,
}

impl TenantRows {
    /// Lays out what was read, with the policies in force.
    pub(crate) fn into_snapshot(self, instance: &InstanceLayer) -> TenantSnapshot {
        let tenant_layer = &self.tenant.policy.delivery;
        let view = |endpoint: Endpoint| {
            let layers = Layers {
                instance: &instance.policy.delivery,
                tenant: tenant_layer,
                endpoint: &endpoint.policy,
            };
            let policy = Policy::resolve(layers);
            (endpoint.id, Arc::new(EndpointView { endpoint, policy }))
        };
        TenantSnapshot {
            endpoints: self.endpoints.into_iter().map(view).collect(),
            version: self.directory_version,
            addresses: addresses_of(&self.tenant, instance),
            quota: Quota::resolve(&instance.policy.quota, &self.tenant.policy.quota),
            routes: Routes::new(self.subscriptions),
            sources: self.sources.into_iter().map(|source| (source.id, Arc::new(source))).collect(),
            tenant: self.tenant,
        }
    }
}

/// What one tenant's endpoints may connect to: what the instance allows and what the tenant is allowed besides.
fn addresses_of(tenant: &Tenant, instance: &InstanceLayer) -> AddressPolicy {
    let common = &instance.addresses;
    let subnets = common.subnets.iter().chain(tenant.policy.allowed_subnets.iter()).copied();
    AddressPolicy {
        http: common.http || tenant.policy.allow_http,
        loopback: common.loopback,
        subnets: subnets.collect(),
    }
}

/// Tenants' snapshots, each as new as the newest version that was observed.
///
/// A snapshot that is older is read anew by the first who asks, while the others wait for that one.
pub(crate) struct DirectoryCache {
    slots: RwLock<HashMap<TenantId, Arc<Slot>>>,
    tenants_max: usize,
    /// Counts loads; tells which slots were of use lately.
    loads: AtomicU64,
    /// Raised when everything that was read before counts for nothing.
    epoch: AtomicU64,
}

/// A snapshot, and the epoch in which it began to be read.
struct Known {
    snapshot: Arc<TenantSnapshot>,
    epoch: u64,
}

#[derive(Default)]
struct Slot {
    known: RwLock<Option<Known>>,
    observed: AtomicU64,
    used: AtomicU64,
    loading: tokio::sync::Mutex<()>,
}

impl Slot {
    /// The snapshot, if it is of this epoch and none newer was observed.
    fn fresh(&self, epoch: u64) -> Option<Arc<TenantSnapshot>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref().filter(|known| known.epoch == epoch)?;
        let observed = self.observed.load(Ordering::Acquire);
        (known.snapshot.version >= observed).then(|| known.snapshot.clone())
    }

    fn put(&self, snapshot: Arc<TenantSnapshot>, epoch: u64) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Known { snapshot, epoch });
    }
}

impl DirectoryCache {
    pub(crate) fn new(tenants_max: usize) -> Self {
        Self { slots: RwLock::default(), tenants_max, loads: AtomicU64::new(0), epoch: AtomicU64::new(0) }
    }

    /// The tenant's snapshot; `load` reads it where memory holds none that is new enough.
    pub(crate) async fn tenant<F, L>(
        &self,
        id: &TenantId,
        load: L,
    ) -> Result<Option<Arc<TenantSnapshot>>, Fault>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<TenantSnapshot>, Fault>>,
    {
        if let Some(slot) = self.find(id) {
            slot.used.store(self.loads.load(Ordering::Relaxed), Ordering::Relaxed);
            if let Some(snapshot) = slot.fresh(self.epoch()) {
                return Ok(Some(snapshot));
            }
        }

        let slot = self.slot(id);
        let _loading = slot.loading.lock().await;
        // Before the first statement of `load`: what is forgotten meanwhile is forgotten of it too.
        let epoch = self.epoch();
        if let Some(snapshot) = slot.fresh(epoch) {
            return Ok(Some(snapshot));
        }
        let wanted = slot.observed.load(Ordering::Acquire);
        let Some(snapshot) = load().await? else {
            self.remove(id);
            return Ok(None);
        };
        let snapshot = Arc::new(snapshot);
        if snapshot.version < wanted {
            // Whoever observed was ahead of the store: a change that was never committed. Holding on to
            // that version would make every later call read anew.
            let _ =
                slot.observed.compare_exchange(wanted, snapshot.version, Ordering::AcqRel, Ordering::Acquire);
        }
        slot.put(snapshot.clone(), epoch);
        Ok(Some(snapshot))
    }

    /// Says that this version exists. What is not in memory is read anew anyway.
    pub(crate) fn observe(&self, id: &TenantId, version: u64) {
        if let Some(slot) = self.find(id) {
            slot.observed.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// Makes everything that was read until now count for nothing: changes may have been missed.
    pub(crate) fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn find(&self, id: &TenantId) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The slot of a tenant, made where there is none. Nobody loads without one, so that what is
    /// observed during a load is not missed.
    fn slot(&self, id: &TenantId) -> Arc<Slot> {
        let now = self.loads.fetch_add(1, Ordering::Relaxed);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= self.tenants_max && !slots.contains_key(id) {
            evict(&mut slots);
        }
        let slot = slots.entry(id.clone()).or_default();
        slot.used.store(now, Ordering::Relaxed);
        slot.clone()
    }

    fn remove(&self, id: &TenantId) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// Forgets the eighth that was not used for longest; many at once, so that it is seldom done.
fn evict(slots: &mut HashMap<TenantId, Arc<Slot>>) {
    let mut by_use: Vec<(u64, TenantId)> =
        slots.iter().map(|(id, slot)| (slot.used.load(Ordering::Relaxed), id.clone())).collect();
    let count = by_use.len().div_ceil(8);
    by_use.select_nth_unstable(count - 1);
    for (_, id) in &by_use[..count] {
        slots.remove(id);
    }
}

#[cfg(test)]
mod tests;
