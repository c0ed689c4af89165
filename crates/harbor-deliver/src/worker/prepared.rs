//! Endpoints made ready for requests: keys parsed and fixed headers built once per version.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use harbor_model::address::AddressPolicy;
use harbor_model::directory::EndpointView;
use harbor_model::event::EventBody;
use harbor_model::event::trace::TraceContext;
use harbor_model::header::is_reserved;
use harbor_model::port::deliveries::{EndpointKey, LeasedDelivery};
use harbor_model::time::Timestamp;
use harbor_signature::{SigningKey, harborhook, standard};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use crate::send::Request;
use crate::send::target::Target;

/// What requests call themselves.
const AGENT: &str = concat!("harborhook/", env!("CARGO_PKG_VERSION"));

const EVENT_ID: HeaderName = HeaderName::from_static("x-harborhook-event-id");
const EVENT_TYPE: HeaderName = HeaderName::from_static("x-harborhook-event-type");
const DELIVERY_ID: HeaderName = HeaderName::from_static("x-harborhook-delivery-id");
const ATTEMPT: HeaderName = HeaderName::from_static("x-harborhook-attempt");
const REPLAY_OF: HeaderName = HeaderName::from_static("x-harborhook-replay-of");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Stands before the name of a relayed header whose own name is taken.
const ORIGINAL: &str = "x-original-";

/// The endpoints that are ready.
#[derive(Default)]
pub(crate) struct PreparedEndpoints(Mutex<HashMap<EndpointKey, Arc<PreparedEndpoint>>>);

/// One endpoint, ready for requests.
pub(crate) struct PreparedEndpoint {
    /// The endpoint as it was when it was made ready.
    pub(crate) view: Arc<EndpointView>,
    /// Newest first; with the end of those that have one.
    keys: Vec<(SigningKey, Option<Timestamp>)>,
    /// Those without an end, which is all of them outside a rotation.
    lasting_keys: Vec<SigningKey>,
    headers: HeaderMap,
    target: Target,
}

impl PreparedEndpoints {
    /// The endpoint made ready, as `view` shows it; it may connect to what `addresses` allows.
    pub(crate) fn of(
        &self,
        key: &EndpointKey,
        view: &Arc<EndpointView>,
        addresses: &AddressPolicy,
    ) -> Arc<PreparedEndpoint> {
        if let Some(prepared) = self.lock().get(key)
            && Arc::ptr_eq(&prepared.view, view)
        {
            return Arc::clone(prepared);
        }
        // Without the lock: should one endpoint's secrets be spoilt, others are not to suffer.
        let prepared = Arc::new(PreparedEndpoint::new(view, addresses));
        self.lock().insert(key.clone(), Arc::clone(&prepared));
        prepared
    }

    /// Forgets the endpoints whose snapshot nobody else holds: they have changed or gone.
    pub(crate) fn forget_unused(&self) {
        self.lock().retain(|_, prepared| Arc::strong_count(&prepared.view) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointKey, Arc<PreparedEndpoint>>> {
        self.0.lock().expect("no look-up panics")
    }
}

impl PreparedEndpoint {
    fn new(view: &Arc<EndpointView>, addresses: &AddressPolicy) -> Self {
        let endpoint = &view.endpoint;
        let parse =
            |secret: &str| SigningKey::parse(secret).expect("a secret was checked when it was stored");
        let keys: Vec<_> = endpoint
            .secrets
            .iter()
            .map(|secret| (parse(secret.secret.expose()), secret.expires_at))
            .collect();
        let lasting_keys = keys.iter().filter(|(_, end)| end.is_none()).map(|(key, _)| key.clone()).collect();
        let mut headers = HeaderMap::with_capacity(16 + endpoint.headers.len());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for header in &endpoint.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .expect("a name was checked when it was stored");
            let mut value =
                HeaderValue::from_str(header.value.expose()).expect("a value was checked when it was stored");
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let target = Target::new(&endpoint.url, addresses);
        Self { view: Arc::clone(view), keys, lasting_keys, headers, target }
    }

    /// The keys that sign at `now`, newest first.
    fn keys_at(&self, now: Timestamp) -> Cow<'_, [SigningKey]> {
        if self.lasting_keys.len() == self.keys.len() {
            return Cow::Borrowed(&self.lasting_keys);
        }
        let is_valid = |end: Option<Timestamp>| end.is_none_or(|end| now < end);
        self.keys.iter().filter(|(_, end)| is_valid(*end)).map(|(key, _)| key.clone()).collect()
    }

    /// The request for one attempt, signed.
    pub(crate) fn request(&self, attempt: &Planned<'_>, now: Timestamp) -> Request {
        let Planned { delivery, body, number, trace } = attempt;
        let delivery_id = delivery.delivery_id.to_string();
        let event_id = body.id.to_string();
        // A receiver that must process again has to see an id that it has not seen.
        let webhook_id = if delivery.new_webhook_id { &delivery_id } else { &event_id };

        let mut headers = self.headers.clone();
        relay(&mut headers, &self.headers, body);
        let keys = self.keys_at(now);
        let signing = self.view.policy.signing.value;
        let seconds = now.unix_s();
        headers.insert(standard::ID_HEADER, ascii(webhook_id));
        headers.insert(standard::TIMESTAMP_HEADER, HeaderValue::from(seconds));
        if signing.standard {
            let signature = standard::sign(&keys, webhook_id, seconds, &body.payload);
            headers.insert(standard::SIGNATURE_HEADER, ascii(&signature));
        }
        if signing.harborhook {
            headers.insert(harborhook::TIMESTAMP_HEADER, HeaderValue::from(seconds));
            let signature = harborhook::sign(&keys, seconds, &body.payload);
            headers.insert(harborhook::SIGNATURE_HEADER, ascii(&signature));
        }
        headers.insert(EVENT_ID, ascii(&event_id));
        headers.insert(EVENT_TYPE, ascii(body.event_type.as_str()));
        headers.insert(DELIVERY_ID, ascii(&delivery_id));
        headers.insert(ATTEMPT, HeaderValue::from(*number));
        if let Some(replay_of) = delivery.replay_of {
            headers.insert(REPLAY_OF, ascii(&replay_of.to_string()));
        }
        headers.insert(TRACE_PARENT, ascii(&trace.to_string()));
        if let Some(state) = &trace.state {
            headers.insert(TRACE_STATE, ascii(state));
        }
        headers.insert(TRACE_ID, ascii(&trace.trace_id_text()));
        Request {
            target: self.target.clone(),
            headers,
            body: body.payload.clone(),
            timeout: self.view.policy.timeout.value,
        }
    }
}

/// An attempt that is about to be made.
pub(crate) struct Planned<'a> {
    /// Of which delivery.
    pub(crate) delivery: &'a LeasedDelivery,
    /// What is sent.
    pub(crate) body: &'a EventBody,
    /// Its number, from 1.
    pub(crate) number: u16,
    /// The trace, with the span of this attempt.
    pub(crate) trace: &'a TraceContext,
}

/// Adds the content type, and the original headers of what is relayed. Where a name is one of ours or of the
/// endpoint's own headers, that stands, and the original goes as `x-original-<name>`.
fn relay(headers: &mut HeaderMap, own: &HeaderMap, body: &EventBody) {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let content_type = body.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(JSON));
    for (name, value) in &body.headers {
        let is_taken = is_reserved(name) || own.contains_key(name);
        let name = if is_taken { format!("{ORIGINAL}{name}").parse() } else { name.parse::<HeaderName>() };
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids, types and signatures are visible ASCII")
}
