//! Takes in what providers send to sources: verifies it, and publishes it like any event.

mod confirmations;
mod dedup;
mod owners;
mod rates;
mod refusal;
mod relayed;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harbor_model::decide::fan_out::{FanOut, fan_out};
use harbor_model::delivery::DeliveryStatus;
use harbor_model::directory::TenantSnapshot;
use harbor_model::event::trace::TraceContext;
use harbor_model::event_type::EventType;
use harbor_model::id::{DeliveryId, EndpointId, EventId, RejectionId, SourceId};
use harbor_model::port::Fault;
use harbor_model::port::history::{DeliveryFilter, History};
use harbor_model::port::observer::{ReceiveResult, ReceiveSeen};
use harbor_model::port::page::PageAsk;
use harbor_model::port::sources::Sources;
use harbor_model::secret::Secret;
use harbor_model::source::{Rejected, Source, SourceResponse};
use harbor_signature::source::{Handshake, Judged, Request, Verifier};
use http::{HeaderMap, Method};

use crate::publish::{PublishReceipt, Publisher, ROUNDS_MAX, ReceivedKey, unsettled};
use crate::quota::{QuotaStanding, QuotaWindow};
use crate::receive::confirmations::Confirmations;
use crate::receive::owners::Owners;
use crate::receive::rates::Rates;
use crate::rejections::RejectionLog;
use crate::request::{PublishRequest, Relayed};

pub use crate::receive::refusal::ReceiveRefusal;

/// What receiving needs.
#[derive(Clone)]
pub struct Deps {
    /// Stores what is verified.
    pub publisher: Publisher,
    /// Knows whose source it is.
    pub sources: Arc<dyn Sources>,
    /// Knows what became of what was received before.
    pub history: Arc<dyn History>,
    /// Keeps what is refused, for the owners of sources.
    pub rejections: Arc<RejectionLog>,
}

/// Takes in what providers send.
#[derive(Clone)]
pub struct Inlet {
    deps: Deps,
    confirmations: Arc<Confirmations>,
    owners: Arc<Owners>,
    rates: Arc<Rates>,
}

/// A source that somebody knocked at, as it is set up at the moment.
pub struct Door {
    snapshot: Arc<TenantSnapshot>,
    source: Arc<Source>,
    remote: IpAddr,
    method: Method,
}

impl Door {
    /// What the source answers to a request that was taken, if it sets that.
    pub fn response(&self) -> Option<&SourceResponse> {
        self.source.response.as_ref()
    }
}

/// A request as it came, with its body.
#[derive(Debug)]
pub struct Inbound {
    /// The URL that the provider called: the public one, with path and query as they came.
    pub url: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The trace that it belongs to, if it says so.
    pub trace: Option<TraceContext>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The event is on durable storage.
    Stored {
        /// The event.
        event_id: EventId,
        /// Its delivery, where it has exactly one.
        delivery_id: Option<DeliveryId>,
    },
    /// It was received before. Nothing was stored.
    Duplicate {
        /// The first event.
        event_id: EventId,
        /// The delivery of the first event, where it has exactly one.
        delivery_id: Option<DeliveryId>,
        /// How that stands; of several deliveries, the one that is furthest from its end. None where there is
        /// none.
        status: Option<DeliveryStatus>,
    },
    /// It was a handshake, which is answered so. Nothing was stored.
    Handshake(Handshake),
}

impl Received {
    fn result(&self) -> ReceiveResult {
        match self {
            Self::Stored { .. } => ReceiveResult::Stored,
            Self::Duplicate { .. } => ReceiveResult::Duplicate,
            Self::Handshake(_) => ReceiveResult::Handshake,
        }
    }
}

impl Inlet {
    /// An inlet with nothing taken yet.
    pub fn new(deps: Deps) -> Self {
        Self { deps, confirmations: Arc::default(), owners: Arc::default(), rates: Arc::default() }
    }

    /// Keeps what is refused; see [`crate::rejections::run`].
    pub fn rejections(&self) -> &Arc<RejectionLog> {
        &self.deps.rejections
    }

    /// Finds a source for a request from `remote`, before its body is read.
    ///
    /// # Errors
    /// `NoSource` and `ForeignAddress`, or a fault.
    pub async fn knock(&self, id: SourceId, remote: IpAddr, method: Method) -> Result<Door, ReceiveRefusal> {
        let (mut snapshot, mut source) = self.find(id).await?;
        if !source.allows(remote) {
            (snapshot, source) = self.confirmed(id, &snapshot).await?;
        }
        let door = Door { snapshot, source, remote, method };
        if !door.source.allows(remote) {
            return Err(self.refused(&door, ReceiveRefusal::ForeignAddress(remote), 0));
        }
        Ok(door)
    }

    /// Notes that the body was too large to be read: more than `bytes_max`.
    pub fn refuse_body(&self, door: &Door, bytes_max: usize) -> ReceiveRefusal {
        self.refused(door, ReceiveRefusal::TooLarge(bytes_max), u64::try_from(bytes_max).unwrap_or(u64::MAX))
    }

    /// Takes a request in. Once this answers [`Received::Stored`], the event and its deliveries are on durable
    /// storage.
    ///
    /// # Errors
    /// Says why it was not taken. What its owner can do something about is kept for them.
    pub async fn receive(&self, door: &Door, inbound: Inbound) -> Result<Received, ReceiveRefusal> {
        let body_bytes = u64::try_from(inbound.body.len()).expect("a length fits 64 bits");
        let began = self.deps.publisher.deps.clock.elapsed();
        let outcome = self.take(door, &inbound).await;
        self.tell_published(door, &outcome, began);
        let received = match outcome {
            Ok(Outcome::Handshake(answer)) => Ok(Received::Handshake(answer)),
            Ok(Outcome::Published(receipt, delivery_id)) => self.received(door, &receipt, delivery_id).await,
            Err(refusal) => Err(refusal),
        };
        match received {
            Ok(received) => {
                self.observe(door, received.result());
                Ok(received)
            }
            Err(refusal) => Err(self.refused(door, refusal, body_bytes)),
        }
    }

    /// Takes the request in. What was taken of the tenant's quota for what is not stored is given back.
    async fn take(&self, door: &Door, inbound: &Inbound) -> Result<Outcome, ReceiveRefusal> {
        let mut charge = Charge::default();
        let outcome = self.take_by_rounds(door, inbound, &mut charge).await;
        let is_new = matches!(&outcome, Ok(Outcome::Published(receipt, _)) if !receipt.is_duplicate);
        if charge.of_quota && !is_new {
            self.deps.publisher.meter().give_back(&door.source.tenant_id, 1);
        }
        outcome
    }

    /// Verifies and publishes by the directory of the moment. Where that has changed meanwhile, so may the
    /// source have: everything is done again.
    async fn take_by_rounds(
        &self,
        door: &Door,
        inbound: &Inbound,
        charge: &mut Charge,
    ) -> Result<Outcome, ReceiveRefusal> {
        let (mut snapshot, mut source) = (Arc::clone(&door.snapshot), Arc::clone(&door.source));
        for _ in 0..ROUNDS_MAX {
            let verified = match self.verify(&source, &door.method, inbound) {
                Ok(Verified::Handshake(answer)) => return Ok(Outcome::Handshake(answer)),
                Ok(Verified::Event(event)) => event,
                Err(refusal @ ReceiveRefusal::Unverified(_)) => {
                    let version = snapshot.version;
                    (snapshot, source) = self.confirmed(source.id, &snapshot).await?;
                    if snapshot.version == version {
                        return Err(refusal);
                    }
                    continue;
                }
                Err(refusal) => return Err(refusal),
            };
            self.charge(&snapshot, &source, charge)?;
            if let Some(published) = self.publish(&snapshot, &source, inbound, verified).await? {
                return Ok(published);
            }
            (snapshot, source) = self.find(source.id).await?;
        }
        Err(unsettled().into())
    }

    fn verify(
        &self,
        source: &Source,
        method: &Method,
        inbound: &Inbound,
    ) -> Result<Verified, ReceiveRefusal> {
        let verifier = Verifier::new(source.provider, &source.options)
            .map_err(|error| Fault::new("a source cannot verify as it is set up", error))?;
        let Inbound { url, headers, body, .. } = inbound;
        let request = Request { method, url, headers, body };
        let now = self.deps.publisher.deps.clock.now();
        let secrets: Vec<&str> = source.secrets_at(now).map(Secret::expose).collect();
        match verifier.judge(&request, &secrets, now.unix_s())? {
            Judged::UnsignedHandshake(answer) | Judged::SignedHandshake(answer) => {
                return Ok(Verified::Handshake(answer));
            }
            Judged::OtherMethod => return Err(ReceiveRefusal::Method),
            Judged::Event => {}
        }
        Ok(Verified::Event(Verification {
            event_type: source.name.event_type(verifier.event_type(&request).as_deref()),
            key: dedup::key(source.id, &verifier, &request),
            headers: relayed::kept(headers, |name| verifier.is_credential(name)),
        }))
    }

    /// Takes the request of its source's rate and its tenant's quota, once.
    ///
    /// What is not verified takes nothing: a forger could shut the door on the provider.
    fn charge(
        &self,
        snapshot: &TenantSnapshot,
        source: &Source,
        charge: &mut Charge,
    ) -> Result<(), ReceiveRefusal> {
        if std::mem::replace(&mut charge.is_made, true) {
            return Ok(());
        }
        let (publisher, now) = (&self.deps.publisher, self.deps.publisher.deps.clock.now());
        if let Some(limit) = source.rate_limit {
            let part = publisher.meter().part_of(limit, now);
            if let Err(ready_at) = self.rates.take(source.id, part, now) {
                let (window, limit) = (QuotaWindow::Second, limit.per_second.into());
                let reset = ready_at.since(now);
                return Err(ReceiveRefusal::OverRate(QuotaStanding { window, limit, remaining: 0, reset }));
            }
        }
        charge.of_quota = publisher.charge_one(snapshot)?;
        Ok(())
    }

    /// Stores the event; none where the directory had changed.
    async fn publish(
        &self,
        snapshot: &TenantSnapshot,
        source: &Source,
        inbound: &Inbound,
        verified: Verification,
    ) -> Result<Option<Outcome>, ReceiveRefusal> {
        let publisher = &self.deps.publisher;
        let Verification { event_type, key, headers } = verified;
        let request = PublishRequest {
            payload: inbound.body.clone(),
            trace: inbound.trace.clone(),
            metadata: metadata(source),
            relayed: Some(Relayed { content_type: relayed::content_type(&inbound.headers), headers }),
            ..PublishRequest::default()
        };
        let accepted = publisher.received(&source.tenant_id, request, event_type.clone(), key);
        let chosen = match source.endpoint_id {
            Some(endpoint) => straight_to(snapshot, endpoint),
            None => fan_out(snapshot, &event_type),
        };
        let prepared = publisher.prepare(snapshot, &accepted, chosen)?;
        let delivery_id = prepared.only_delivery();
        let stored = publisher.store(vec![prepared]).await.pop().expect("one event has one outcome");
        Ok(stored.transpose()?.map(|receipt| Outcome::Published(receipt, delivery_id)))
    }

    /// What is answered about an event that is stored; of one that was stored before, how it stands.
    async fn received(
        &self,
        door: &Door,
        receipt: &PublishReceipt,
        delivery_id: Option<DeliveryId>,
    ) -> Result<Received, ReceiveRefusal> {
        let event_id = receipt.event_id;
        if !receipt.is_duplicate {
            return Ok(Received::Stored { event_id, delivery_id });
        }
        let filter = DeliveryFilter { event_id: Some(event_id), ..DeliveryFilter::default() };
        let page = PageAsk { limit: DELIVERIES_LOOKED_AT_MAX, after: None };
        let deliveries = self.deps.history.deliveries(&door.source.tenant_id, filter, page).await?.items;
        // A replay is another delivery of the same event; the first one is what the provider asks about.
        let firsts: Vec<_> = deliveries.iter().filter(|delivery| delivery.replay_of.is_none()).collect();
        let delivery_id = match firsts.as_slice() {
            [only] => Some(only.id),
            _ => None,
        };
        let status = firsts.iter().map(|delivery| delivery.status).min_by_key(|status| way_gone(*status));
        Ok(Received::Duplicate { event_id, delivery_id, status })
    }

    /// Tells of what was published, or could not be; what did not come so far was none.
    fn tell_published(&self, door: &Door, outcome: &Result<Outcome, ReceiveRefusal>, began: Duration) {
        let result = match outcome {
            Ok(Outcome::Published(receipt, _)) => Ok(receipt.clone()),
            Err(ReceiveRefusal::Publish(refusal)) => Err(refusal.clone()),
            Ok(Outcome::Handshake(_)) | Err(_) => return,
        };
        self.deps.publisher.observe(&door.source.tenant_id, &[result], began);
    }

    /// Notes a refusal, for the owner of the source and for metrics.
    fn refused(&self, door: &Door, refusal: ReceiveRefusal, body_bytes: u64) -> ReceiveRefusal {
        self.observe(door, refusal.result());
        let Some(code) = refusal.code() else { return refusal };
        let rejection = match &refusal {
            ReceiveRefusal::Unverified(rejection) => Some(rejection),
            _ => None,
        };
        let header = rejection.and_then(|rejection| rejection.reason.header());
        let deps = &self.deps.publisher.deps;
        self.deps.rejections.note(Rejected {
            id: RejectionId::new(deps.clock.now(), &*deps.rng),
            tenant_id: door.source.tenant_id.clone(),
            source_id: door.source.id,
            code: code.to_owned(),
            message: refusal.to_string(),
            header: header.map(str::to_owned),
            signed_text: rejection.and_then(|rejection| rejection.signed_text.clone()),
            timestamp_age_s: rejection.and_then(|rejection| rejection.timestamp_age_s),
            method: door.method.to_string(),
            remote_address: door.remote,
            body_bytes,
        });
        refusal
    }

    fn observe(&self, door: &Door, result: ReceiveResult) {
        self.deps.publisher.deps.observer.received(ReceiveSeen { provider: door.source.provider, result });
    }

    /// The source, by a directory that knows of every change that was made until now: nobody is refused by one that
    /// does not.
    async fn confirmed(
        &self,
        id: SourceId,
        snapshot: &TenantSnapshot,
    ) -> Result<(Arc<TenantSnapshot>, Arc<Source>), ReceiveRefusal> {
        let directory = &*self.deps.publisher.deps.directory;
        self.confirmations.confirm(directory, &snapshot.tenant.id).await?;
        self.find(id).await
    }

    /// The source, as the directory of the moment has it.
    async fn find(&self, id: SourceId) -> Result<(Arc<TenantSnapshot>, Arc<Source>), ReceiveRefusal> {
        let directory = &self.deps.publisher.deps.directory;
        let known = self.owners.find(id);
        let owner = match &known {
            Some(owner) => owner.clone(),
            None => {
                let found = self.owners.look_up(&*self.deps.sources, id).await?;
                found.ok_or(ReceiveRefusal::NoSource)?
            }
        };
        let mut snapshot = directory.tenant(&owner).await?.ok_or(ReceiveRefusal::NoSource)?;
        if known.is_none() && !snapshot.sources.contains_key(&id) {
            // It is there, so the snapshot is older than it.
            directory.observe(&owner, snapshot.version + 1);
            snapshot = directory.tenant(&owner).await?.ok_or(ReceiveRefusal::NoSource)?;
        }
        let source = snapshot.sources.get(&id).cloned().ok_or(ReceiveRefusal::NoSource)?;
        if known.is_none() {
            self.owners.put(id, owner);
        }
        Ok((snapshot, source))
    }
}

/// An event that provider and secret vouch for.
struct Verification {
    event_type: EventType,
    /// None where nothing tells it from others like it.
    key: Option<ReceivedKey>,
    headers: Vec<(String, String)>,
}

enum Verified {
    Event(Verification),
    Handshake(Handshake),
}

enum Outcome {
    Published(PublishReceipt, Option<DeliveryId>),
    Handshake(Handshake),
}

/// What a request was charged.
#[derive(Default)]
struct Charge {
    /// Whether rate and quota were asked.
    is_made: bool,
    /// Whether something was taken of the quota.
    of_quota: bool,
}

/// The most deliveries of an event that are looked at to say how it stands.
const DELIVERIES_LOOKED_AT_MAX: usize = 100;

/// How far a delivery has gone on its way to being delivered.
fn way_gone(status: DeliveryStatus) -> u8 {
    match status {
        DeliveryStatus::Queued => 0,
        DeliveryStatus::Failed => 1,
        DeliveryStatus::Inflight => 2,
        DeliveryStatus::Dead => 3,
        DeliveryStatus::Cancelled => 4,
        DeliveryStatus::Delivered => 5,
    }
}

/// One endpoint, whatever it subscribes to; nobody where it is disabled or has gone.
fn straight_to(snapshot: &TenantSnapshot, endpoint: EndpointId) -> FanOut {
    let takes_events = snapshot.endpoints.get(&endpoint).is_some_and(|view| view.endpoint.disabled.is_none());
    if takes_events {
        return FanOut { endpoints: vec![endpoint], skipped: Vec::new() };
    }
    FanOut { endpoints: Vec::new(), skipped: vec![endpoint] }
}

/// Says of an event where it came in.
fn metadata(source: &Source) -> BTreeMap<String, String> {
    let pairs = [("source_id", source.id.to_string()), ("provider", source.provider.to_string())];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}
