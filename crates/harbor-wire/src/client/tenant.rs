//! What belongs to one tenant.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde::Serialize;

use crate::api_key::{ApiKey, CreateApiKey, CreatedApiKey, ListApiKeys};
use crate::client::connection::{Connection, Request};
use crate::client::error::ClientError;
use crate::client::pages::Pages;
use crate::delivery::{
    DeadLetter, Delivery, DeliveryWithAttempts, ListDeadLetters, ListDeliveries, ReplayDelivery,
};
use crate::endpoint::{
    CreateEndpoint, Endpoint, ListEndpoints, RotateSecret, RotatedSecret, TestedEndpoint, UpdateEndpoint,
};
use crate::event::{
    BatchPublished, Event, EventSummary, ListEventDeliveries, ListEvents, PublishEvent, PublishedEvent,
};
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

    /// Lists dead letters.
    pub fn dead_letters(&self, query: &ListDeadLetters) -> Pages<DeadLetter> {
        self.list(&["dlq"], query)
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
    pub fn endpoints(&self, query: &ListEndpoints) -> Pages<Endpoint> {
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
    pub fn api_keys(&self, query: &ListApiKeys) -> Pages<ApiKey> {
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
