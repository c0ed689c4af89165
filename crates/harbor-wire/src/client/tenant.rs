//! What belongs to one tenant.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde::Serialize;

use crate::api_key::{ApiKey, CreateApiKey, CreatedApiKey};
use crate::client::connection::{Connection, Request};
use crate::client::error::ClientError;
use crate::client::pages::Pages;
use crate::delivery::{
    CancelDeliveries, DeadLetter, DeadLetterSummary, Delivery, DeliveryWithAttempts, ListDeadLetters,
    ListDeliveries, ReplayDelivery,
};
use crate::endpoint::{
    CreateEndpoint, Endpoint, ResumeEndpoint, RotateSecret, RotatedSecret, TestedEndpoint, UpdateEndpoint,
};
use crate::event::{
    BatchPublished, Event, EventSummary, ListEventDeliveries, ListEvents, PublishEvent, PublishedEvent,
};
use crate::job::{CreateReplay, Job, Replay};
use crate::lane::{OrderedLane, ReleasedLane};
use crate::list::ListPage;
use crate::source::{CreateSource, Rejection, RotateSourceSecret, Source, UpdateSource};
use crate::subscription::{CreateSubscription, ListSubscriptions, Subscription, UpdateSubscription};

/// Speaks to one server of what belongs to one tenant.
#[derive(Clone, Debug)]
pub struct TenantClient {
    connection: Arc<Connection>,
    base: Vec<String>,
}

impl TenantClient {
    pub(crate) fn new(connection: Arc<Connection>, tenant: Option<&str>) -> Self {
        let mut base = vec!["v1".to_owned()];
        if let Some(id) = tenant {
            base.extend(["tenants".to_owned(), id.to_owned()]);
        }
        Self { connection, base }
    }

    fn path<'a>(&'a self, below: &[&'a str]) -> Vec<&'a str> {
        self.base.iter().map(String::as_str).chain(below.iter().copied()).collect()
    }

    fn request(&self, method: Method, below: &[&str]) -> Request {
        Request::new(method, &self.path(below))
    }

    fn list<T: serde::de::DeserializeOwned>(&self, below: &[&str], query: &impl Serialize) -> Pages<T> {
        Pages::new(Arc::clone(&self.connection), &self.path(below), query)
    }

    /// Publishes an event.
    pub async fn publish(&self, event: &PublishEvent<'_>) -> Result<PublishedEvent, ClientError> {
        self.connection.ask(self.request(Method::POST, &["events:publish"]).json(event)).await
    }

    /// Publishes what stands in `body`, right or wrong: to see what the server refuses.
    pub async fn publish_body(&self, body: impl Into<Bytes>) -> Result<PublishedEvent, ClientError> {
        self.connection.ask(self.request(Method::POST, &["events:publish"]).body(body.into())).await
    }

    /// Publishes several events; each has a result of its own, in their order.
    pub async fn publish_batch(&self, events: &[PublishEvent<'_>]) -> Result<BatchPublished, ClientError> {
        let batch = Batch { events };
        self.connection.ask(self.request(Method::POST, &["events:batchPublish"]).json(&batch)).await
    }

    /// Makes a source; the answer holds its secret.
    pub async fn create_source(&self, source: &CreateSource) -> Result<Source, ClientError> {
        self.connection.ask(self.request(Method::POST, &["sources"]).json(source)).await
    }

    /// Lists sources.
    pub fn sources(&self, query: &ListPage) -> Pages<Source> {
        self.list(&["sources"], query)
    }

    /// Reads a source.
    pub async fn source(&self, id: &str) -> Result<Source, ClientError> {
        self.connection.ask(self.request(Method::GET, &["sources", id])).await
    }

    /// Changes a source.
    pub async fn update_source(&self, id: &str, change: &UpdateSource) -> Result<Source, ClientError> {
        self.connection.ask(self.request(Method::PATCH, &["sources", id]).json(change)).await
    }

    /// Removes a source.
    pub async fn delete_source(&self, id: &str) -> Result<(), ClientError> {
        self.connection.tell(self.request(Method::DELETE, &["sources", id])).await
    }

    /// Gives a source a new secret; the old one verifies as well for a while.
    pub async fn rotate_source_secret(
        &self,
        id: &str,
        rotation: &RotateSourceSecret,
    ) -> Result<RotatedSecret, ClientError> {
        self.connection
            .ask(self.request(Method::POST, &["sources", id, "rotate-secret"]).json(rotation))
            .await
    }

    /// Lists the last requests that a source refused.
    pub fn rejections(&self, id: &str, query: &ListPage) -> Pages<Rejection> {
        self.list(&["sources", id, "rejections"], query)
    }

    /// Lists events.
    pub fn events(&self, query: &ListEvents) -> Pages<EventSummary> {
        self.list(&["events"], query)
    }

    /// Reads an event with its payload.
    pub async fn event(&self, id: &str) -> Result<Event, ClientError> {
        self.connection.ask(self.request(Method::GET, &["events", id])).await
    }

    /// Lists the deliveries of an event with their attempts.
    pub fn event_deliveries(&self, id: &str, query: &ListEventDeliveries) -> Pages<DeliveryWithAttempts> {
        self.list(&["events", id, "deliveries"], query)
    }

    /// Removes the payload of an event for good; its open deliveries die.
    pub async fn expunge_event(&self, id: &str) -> Result<(), ClientError> {
        self.connection.tell(self.request(Method::DELETE, &["events", id, "payload"])).await
    }

    /// Lists deliveries.
    pub fn deliveries(&self, query: &ListDeliveries) -> Pages<Delivery> {
        self.list(&["deliveries"], query)
    }

    /// Reads a delivery with its attempts.
    pub async fn delivery(&self, id: &str) -> Result<DeliveryWithAttempts, ClientError> {
        self.connection.ask(self.request(Method::GET, &["deliveries", id])).await
    }

    /// Replays a delivery. A request with the same idempotency key again makes no second replay.
    pub async fn replay_delivery(
        &self,
        id: &str,
        replay: &ReplayDelivery,
        idempotency_key: Option<&str>,
    ) -> Result<Delivery, ClientError> {
        let action = format!("{id}:replay");
        let request = self.request(Method::POST, &["deliveries", &action]).json(replay);
        self.connection.ask(request.header("idempotency-key", idempotency_key)).await
    }

    /// Makes an open delivery due now instead of at its next time.
    pub async fn retry_delivery(&self, id: &str) -> Result<Delivery, ClientError> {
        let action = format!("{id}:retry");
        self.connection.ask(self.request(Method::POST, &["deliveries", &action])).await
    }

    /// Cancels an open delivery at once.
    pub async fn cancel_delivery(&self, id: &str) -> Result<Delivery, ClientError> {
        let action = format!("{id}:cancel");
        self.connection.ask(self.request(Method::POST, &["deliveries", &action])).await
    }

    /// Cancels all open deliveries that match, as a job.
    pub async fn cancel_deliveries(&self, which: &CancelDeliveries) -> Result<Job, ClientError> {
        self.connection.ask(self.request(Method::POST, &["deliveries:cancel"]).json(which)).await
    }

    /// Replays many deliveries, as a job. A request with the same idempotency key again makes no second one.
    pub async fn create_replay(
        &self,
        replay: &CreateReplay,
        idempotency_key: Option<&str>,
    ) -> Result<Replay, ClientError> {
        let request = self.request(Method::POST, &["replays"]).json(replay);
        self.connection.ask(request.header("idempotency-key", idempotency_key)).await
    }

    /// Lists bulk replays.
    pub fn replays(&self, query: &ListPage) -> Pages<Replay> {
        self.list(&["replays"], query)
    }

    /// Reads a bulk replay and how far it has come.
    pub async fn replay(&self, id: &str) -> Result<Replay, ClientError> {
        self.connection.ask(self.request(Method::GET, &["replays", id])).await
    }

    /// Stops a bulk replay. What it did stays.
    pub async fn cancel_replay(&self, id: &str) -> Result<Replay, ClientError> {
        let action = format!("{id}:cancel");
        self.connection.ask(self.request(Method::POST, &["replays", &action])).await
    }

    /// Lists jobs: of a tenant those that cancel deliveries, of the instance those that remove tenants.
    pub fn jobs(&self, query: &ListPage) -> Pages<Job> {
        self.list(&["jobs"], query)
    }

    /// Reads a job and how far it has come.
    pub async fn job(&self, id: &str) -> Result<Job, ClientError> {
        self.connection.ask(self.request(Method::GET, &["jobs", id])).await
    }

    /// Stops a job of the tenant. What it did stays.
    pub async fn cancel_job(&self, id: &str) -> Result<Job, ClientError> {
        let action = format!("{id}:cancel");
        self.connection.ask(self.request(Method::POST, &["jobs", &action])).await
    }

    /// Lists dead letters.
    pub fn dead_letters(&self, query: &ListDeadLetters) -> Pages<DeadLetter> {
        self.list(&["dlq"], query)
    }

    /// Counts open dead letters by endpoint and cause.
    pub async fn dead_letter_summary(&self) -> Result<DeadLetterSummary, ClientError> {
        self.connection.ask(self.request(Method::GET, &["dlq", "summary"])).await
    }

    /// Puts a dead letter aside.
    pub async fn discard_dead_letter(&self, delivery_id: &str) -> Result<DeadLetter, ClientError> {
        let action = format!("{delivery_id}:discard");
        self.connection.ask(self.request(Method::POST, &["dlq", &action])).await
    }

    /// Makes an endpoint. The answer holds its secret, for the only time.
    pub async fn create_endpoint(&self, endpoint: &CreateEndpoint) -> Result<Endpoint, ClientError> {
        self.connection.ask(self.request(Method::POST, &["endpoints"]).json(endpoint)).await
    }

    /// Lists endpoints.
    pub fn endpoints(&self, query: &ListPage) -> Pages<Endpoint> {
        self.list(&["endpoints"], query)
    }

    /// Reads an endpoint.
    pub async fn endpoint(&self, id: &str) -> Result<Endpoint, ClientError> {
        self.connection.ask(self.request(Method::GET, &["endpoints", id])).await
    }

    /// Changes an endpoint.
    pub async fn update_endpoint(&self, id: &str, change: &UpdateEndpoint) -> Result<Endpoint, ClientError> {
        self.connection.ask(self.request(Method::PATCH, &["endpoints", id]).json(change)).await
    }

    /// Removes an endpoint; its open deliveries are cancelled.
    pub async fn delete_endpoint(&self, id: &str) -> Result<(), ClientError> {
        self.connection.tell(self.request(Method::DELETE, &["endpoints", id])).await
    }

    /// Gives an endpoint a new secret; the old one also signs for a while.
    pub async fn rotate_secret(
        &self,
        id: &str,
        rotation: &RotateSecret,
    ) -> Result<RotatedSecret, ClientError> {
        let request = self.request(Method::POST, &["endpoints", id, "rotate-secret"]);
        self.connection.ask(request.json(rotation)).await
    }

    /// Sends an endpoint an event of type `harborhook.test`.
    pub async fn test_endpoint(&self, id: &str) -> Result<TestedEndpoint, ClientError> {
        let action = format!("{id}:test");
        self.connection.ask(self.request(Method::POST, &["endpoints", &action])).await
    }

    /// Makes new deliveries to an endpoint wait.
    pub async fn pause_endpoint(&self, id: &str) -> Result<Endpoint, ClientError> {
        self.act_on_endpoint(id, "pause").await
    }

    /// Lets what waits for an endpoint go.
    pub async fn resume_endpoint(&self, id: &str) -> Result<Endpoint, ClientError> {
        self.act_on_endpoint(id, "resume").await
    }

    /// Lets what waits for an endpoint go, at most so many per second.
    pub async fn resume_endpoint_at(&self, id: &str, drain_per_second: u32) -> Result<Endpoint, ClientError> {
        let action = format!("{id}:resume");
        let resume = ResumeEndpoint { drain_per_second: Some(drain_per_second) };
        self.connection.ask(self.request(Method::POST, &["endpoints", &action]).json(&resume)).await
    }

    /// Gives an endpoint events again.
    pub async fn enable_endpoint(&self, id: &str) -> Result<Endpoint, ClientError> {
        self.act_on_endpoint(id, "enable").await
    }

    /// Gives an endpoint no more events; its open deliveries die.
    pub async fn disable_endpoint(&self, id: &str) -> Result<Endpoint, ClientError> {
        self.act_on_endpoint(id, "disable").await
    }

    async fn act_on_endpoint(&self, id: &str, verb: &str) -> Result<Endpoint, ClientError> {
        let action = format!("{id}:{verb}");
        self.connection.ask(self.request(Method::POST, &["endpoints", &action])).await
    }

    /// Lists the ordered lanes of an endpoint that have somebody in them or are held.
    pub fn lanes(&self, endpoint_id: &str, query: &ListPage) -> Pages<OrderedLane> {
        self.list(&["endpoints", endpoint_id, "lanes"], query)
    }

    /// Passes over the head of a lane: the next one goes. The empty key names the one lane of an endpoint.
    pub async fn skip_lane_head(&self, endpoint_id: &str, key: &str) -> Result<ReleasedLane, ClientError> {
        self.release_lane(endpoint_id, key, "skip").await
    }

    /// Tries the head of a lane now; one that is dead is replayed in its place.
    pub async fn retry_lane_head(&self, endpoint_id: &str, key: &str) -> Result<ReleasedLane, ClientError> {
        self.release_lane(endpoint_id, key, "retry").await
    }

    async fn release_lane(
        &self,
        endpoint_id: &str,
        key: &str,
        verb: &str,
    ) -> Result<ReleasedLane, ClientError> {
        let action = format!("{key}:{verb}");
        self.connection.ask(self.request(Method::POST, &["endpoints", endpoint_id, "lanes", &action])).await
    }

    /// Makes a subscription.
    pub async fn create_subscription(
        &self,
        subscription: &CreateSubscription,
    ) -> Result<Subscription, ClientError> {
        self.connection.ask(self.request(Method::POST, &["subscriptions"]).json(subscription)).await
    }

    /// Lists subscriptions.
    pub fn subscriptions(&self, query: &ListSubscriptions) -> Pages<Subscription> {
        self.list(&["subscriptions"], query)
    }

    /// Reads a subscription.
    pub async fn subscription(&self, id: &str) -> Result<Subscription, ClientError> {
        self.connection.ask(self.request(Method::GET, &["subscriptions", id])).await
    }

    /// Changes a subscription.
    pub async fn update_subscription(
        &self,
        id: &str,
        change: &UpdateSubscription,
    ) -> Result<Subscription, ClientError> {
        self.connection.ask(self.request(Method::PATCH, &["subscriptions", id]).json(change)).await
    }

    /// Removes a subscription.
    pub async fn delete_subscription(&self, id: &str) -> Result<(), ClientError> {
        self.connection.tell(self.request(Method::DELETE, &["subscriptions", id])).await
    }

    /// Makes an API key. The answer holds the key, for the only time.
    pub async fn create_api_key(&self, key: &CreateApiKey) -> Result<CreatedApiKey, ClientError> {
        self.connection.ask(self.request(Method::POST, &["api-keys"]).json(key)).await
    }

    /// Lists API keys, without the keys themselves.
    pub fn api_keys(&self, query: &ListPage) -> Pages<ApiKey> {
        self.list(&["api-keys"], query)
    }

    /// Revokes an API key.
    pub async fn delete_api_key(&self, id: &str) -> Result<(), ClientError> {
        self.connection.tell(self.request(Method::DELETE, &["api-keys", id])).await
    }
}

/// A batch on its way out: the events are written once, as they are.
#[derive(Serialize)]
struct Batch<'a> {
    events: &'a [PublishEvent<'a>],
}
