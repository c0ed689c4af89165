//! Planning an endpoint in words: `world.endpoint().answers([500, 200]).attempts(3).await`.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use harbor_model::address::AddressPolicy;
use harbor_model::endpoint::{Endpoint, EndpointUrl};
use harbor_model::id::{EndpointId, SubscriptionId};
use harbor_model::policy::PolicyLayer;
use harbor_model::policy::order::{OnDead, Ordering};
use harbor_model::policy::retry::Backoff;
use harbor_model::port::registry::Change;
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::subscription::Subscription;
use harbor_model::time::Clock;

use crate::receivers::Answer;
use crate::world::{Shop, World};

/// The secret of every planned endpoint that names no other.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// An endpoint to be made.
pub struct EndpointPlan<'a> {
    world: &'a World,
    event_types: Vec<String>,
    answers: Vec<Answer>,
    policy: PolicyLayer,
    secrets: Vec<TimedSecret>,
}

impl<'a> EndpointPlan<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let secret = TimedSecret::lasting(Secret::new(SECRET.to_owned()));
        let mut policy = PolicyLayer::default();
        policy.retry.jitter = Some(0.0);
        Self {
            world,
            event_types: vec!["*".to_owned()],
            answers: vec![Answer::Status(200)],
            policy,
            secrets: vec![secret],
        }
    }

    /// Wants these event types instead of all.
    #[must_use]
    pub fn wants<const N: usize>(mut self, patterns: [&str; N]) -> Self {
        self.event_types = patterns.map(str::to_owned).into();
        self
    }

    /// Answers so, in turn; the last answer repeats.
    #[must_use]
    pub fn answers<T: Into<Answer>, const N: usize>(mut self, answers: [T; N]) -> Self {
        self.answers = answers.into_iter().map(Into::into).collect();
        self
    }

    /// Is tried at most so often.
    #[must_use]
    pub fn attempts(mut self, max: u16) -> Self {
        self.policy.retry.max_attempts = Some(max);
        self
    }

    /// Is tried again after these waits.
    #[must_use]
    pub fn waits<const N: usize>(mut self, waits: [Duration; N]) -> Self {
        self.policy.retry.backoff = Some(Backoff::Schedule(waits.into()));
        self
    }

    /// Gets the events of one ordering key one after the other.
    #[must_use]
    pub fn ordered_by_key(self) -> Self {
        self.policy(|policy| policy.ordering = Some(Ordering::Key))
    }

    /// Gets all events one after the other.
    #[must_use]
    pub fn ordered(self) -> Self {
        self.policy(|policy| policy.ordering = Some(Ordering::Endpoint))
    }

    /// Holds an ordered lane whose head is dead.
    #[must_use]
    pub fn holds_on_dead(self) -> Self {
        self.policy(|policy| policy.on_dead = Some(OnDead::Hold))
    }

    /// Has this policy. Jitter stays off unless the policy sets it.
    #[must_use]
    pub fn policy(mut self, change: impl FnOnce(&mut PolicyLayer)) -> Self {
        change(&mut self.policy);
        self
    }

    /// Signs with these secrets, newest first.
    #[must_use]
    pub fn secrets(mut self, secrets: Vec<TimedSecret>) -> Self {
        self.secrets = secrets;
        self
    }

    async fn make(self) -> Shop {
        let Self { world, event_types, answers, policy, secrets } = self;
        let now = world.clock.now();
        let id = EndpointId::new(now, &*world.rng);
        let path = format!("/{id}");
        world.receivers.script(&path, answers);
        let dev = AddressPolicy { http: true, loopback: true, ..AddressPolicy::default() };
        let endpoint = Endpoint {
            id,
            tenant_id: world.tenant.clone(),
            name: None,
            description: None,
            url: EndpointUrl::parse(&format!("http://127.0.0.1:9{path}"), &dev).expect("a valid URL"),
            secrets,
            headers: Vec::new(),
            policy,
            metadata: BTreeMap::new(),
            paused: false,
            drain: None,
            disabled: None,
            enabled_at: None,
            version: 1,
            url_version: 1,
            created_at: now,
            updated_at: now,
        };
        let subscription = |pattern: &String| Subscription {
            id: SubscriptionId::new(now, &*world.rng),
            tenant_id: world.tenant.clone(),
            pattern: pattern.parse().expect("a valid pattern"),
            endpoint_id: id,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let subscriptions = event_types.iter().map(subscription).collect();
        let made =
            world.store.create_endpoint(endpoint, subscriptions, 10_000).await.expect("the store answers");
        assert!(matches!(made, Change::Done(_)), "{made:?}");
        Shop { id, path }
    }
}

impl<'a> IntoFuture for EndpointPlan<'a> {
    type Output = Shop;
    type IntoFuture = Pin<Box<dyn Future<Output = Shop> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}
