//! What may happen next, drawn from the seed.

use std::time::Duration;

use bytes::Bytes;
use harbor_ingest::request::PublishRequest;
use harbor_model::attempt::ErrorClass;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::DeliveryId;
use harbor_model::port::upkeep::{NewReplay, Replayed};
use harbor_model::time::{Clock, Timestamp};

use crate::receivers::Answer;
use crate::sim::Simulation;
use crate::sim::audit;
use crate::sim::ledger::PublishFacts;
use crate::sim::scene::{self, EVENT_TYPES, done};
use crate::sim::wire::Weather;

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish,
    Answer,
    AnswerAll,
    Wait,
    WaitForNext,
    WaitLong,
    Jump,
    Weather,
    Clear,
    Crash,
    LoseNode,
    Freeze,
    Wake,
    Change,
    Replay,
    Discard,
    Announce,
    Upkeep,
    Audit,
    Nothing,
}

/// How often each happens, among all.
const ALWAYS: &[(usize, Step)] = &[
    (24, Step::Publish),
    (28, Step::Answer),
    (6, Step::AnswerAll),
    (10, Step::Wait),
    (10, Step::WaitForNext),
    (2, Step::WaitLong),
    (1, Step::Jump),
    (3, Step::Weather),
    (4, Step::Clear),
    (1, Step::Crash),
    (5, Step::Change),
    (3, Step::Replay),
    (1, Step::Discard),
    (2, Step::Announce),
    (1, Step::Upkeep),
    (2, Step::Audit),
    (6, Step::Nothing),
];

/// The same where several nodes share a store.
const SPLIT: &[(usize, Step)] = &[(1, Step::LoseNode), (4, Step::Freeze), (4, Step::Wake)];

/// How far time moves at most without a look at every node.
pub(crate) const HOP: Duration = Duration::from_secs(4);

const SECOND: Duration = Duration::from_secs(1);

/// The answers of receivers, and how often each is given.
fn draw_answer(sim: &Simulation<'_>) -> Answer {
    let wait = sim.dice.time(SECOND, 90 * SECOND);
    match sim.dice.weighted(&[(12, 0), (6, 1), (2, 2), (1, 3), (1, 4), (2, 5), (2, 6), (1, 7), (1, 8)]) {
        0 => Answer::Status(200),
        1 => Answer::Status(500),
        2 => Answer::RetryAfter(429, wait),
        3 => Answer::Status(410),
        4 => Answer::Status(404),
        5 => Answer::Silence(ErrorClass::Timeout),
        6 => Answer::Silence(ErrorClass::ConnectionReset),
        7 => Answer::RetryAfter(503, wait),
        _ => Answer::Status(204),
    }
}

impl Simulation<'_> {
    /// Lets something happen.
    pub(super) fn step(&mut self) {
        self.books.open().trace.begin_step();
        let choices: Vec<_> = match self.places {
            1 => ALWAYS.to_vec(),
            _ => ALWAYS.iter().chain(SPLIT).copied().collect(),
        };
        match self.dice.weighted(&choices) {
            Step::Publish => self.publish(),
            Step::Answer => self.answer_one(),
            Step::AnswerAll => self.answer_all(|sim| draw_answer(sim)),
            Step::Wait => self.wait(self.dice.time(Duration::from_millis(1), 3 * SECOND)),
            Step::WaitForNext => self.wait_for_next(),
            Step::WaitLong => self.wait(self.dice.time(10 * SECOND, 60 * SECOND)),
            Step::Jump => self.jump(self.dice.time(10 * SECOND, 7_200 * SECOND)),
            Step::Weather => self.spoil_weather(),
            Step::Clear => self.clear_weather(),
            Step::Crash => self.crash(),
            Step::LoseNode => self.lose_node(),
            Step::Freeze => self.freeze(),
            Step::Wake => self.wake(),
            Step::Change => self.change(),
            Step::Replay => self.replay(),
            Step::Discard => self.discard(),
            Step::Announce => self.announce(),
            Step::Upkeep => self.upkeep(),
            Step::Audit => self.audit(),
            Step::Nothing => {}
        }
        match self.dice.below(10) {
            0..=4 => self.settle(),
            5..=7 => self.turn(),
            _ => {}
        }
    }

    fn publish(&mut self) {
        let tenant = self.dice.pick(&self.tenants).clone();
        let count = if self.dice.one_in(3) { self.dice.between(2, 6) } else { 1 };
        let numbered = (0..count).map(|_| self.draw_publish(&tenant)).collect();
        let Some(place) = self.draw_node() else { return };
        self.nodes[place].publish(tenant, numbered);
    }

    fn draw_publish(&self, tenant: &harbor_model::id::TenantId) -> (usize, PublishRequest) {
        let mut ledger = self.books.open();
        let number = ledger.publishes.len();
        let mut event_type = (*self.dice.pick(&EVENT_TYPES)).to_owned();
        let mut payload = Bytes::from(format!(r#"{{"tenant":"{tenant}","number":{number}}}"#));
        let mut idempotency_key = self.dice.one_in(3).then(|| format!("k{}", self.dice.below(12)));
        let earlier = ledger.publishes.iter().rev().filter(|one| one.tenant == *tenant && one.key.is_some());
        let earlier: Vec<_> = earlier.take(4).collect();
        // An honest repeat: the same in everything.
        if !earlier.is_empty() && self.dice.one_in(6) {
            let one = self.dice.pick(&earlier);
            event_type = one.event_type.clone();
            payload = one.payload.clone();
            idempotency_key = one.key.clone();
        }
        let now = self.clock.now();
        let deliver_at = self.dice.one_in(6).then(|| now + self.dice.time(SECOND, 60 * SECOND));
        let key = idempotency_key.clone();
        ledger.note(format_args!(
            "publish {number} of {event_type} by {tenant}, key {}",
            key.as_deref().unwrap_or("-")
        ));
        let (tenant, payload_kept, kind) = (tenant.clone(), payload.clone(), event_type.clone());
        ledger.publishes.push(PublishFacts {
            tenant,
            event_type: kind,
            payload: payload_kept,
            key,
            answer: None,
        });
        let request =
            PublishRequest { event_type, payload, idempotency_key, deliver_at, ..PublishRequest::default() };
        (number, request)
    }

    fn answer_one(&mut self) {
        let waiting = self.books.open().in_flight();
        if waiting.is_empty() {
            return;
        }
        let (seq, answer) = (*self.dice.pick(&waiting), draw_answer(self));
        self.answer(seq, answer);
    }

    /// Answers everything that waits.
    pub(super) fn answer_all(&mut self, mut draw: impl FnMut(&Self) -> Answer) {
        let waiting = self.books.open().in_flight();
        for seq in waiting {
            let answer = draw(self);
            self.answer(seq, answer);
        }
    }

    fn answer(&mut self, seq: usize, answer: Answer) {
        let node = {
            let mut ledger = self.books.open();
            ledger.answers(seq, answer.clone());
            let node = ledger.requests[seq].node;
            ledger.node_stirs(node);
            node
        };
        if !self.switchboard.answer(seq, answer) {
            self.books.open().violated(format!("{node} does not wait for the answer to #{seq}"));
        }
    }

    fn wait_for_next(&mut self) {
        let now = self.clock.now();
        let due = {
            let ledger = self.books.open();
            ledger
                .deliveries
                .values()
                .filter_map(|delivery| delivery.due_at)
                .filter(|due_at| *due_at > now)
                .min()
        };
        if let Some(due_at) = due {
            self.wait_until(due_at);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.wait_until(self.clock.now() + time);
    }

    /// Lets time pass, in steps so small that every node that is awake lives through it.
    pub(super) fn wait_until(&mut self, instant: Timestamp) {
        self.books.open().note(format_args!("time passes until {instant}"));
        while self.clock.now() < instant {
            let next = instant.min(self.clock.now() + HOP);
            self.advance_to(next);
            if next < instant {
                self.settle();
            }
        }
    }

    /// The clock jumps, or the machine has slept: nobody was at work meanwhile.
    fn jump(&mut self, time: Duration) {
        let instant = self.clock.now() + time;
        self.advance_to(instant);
        let mut ledger = self.books.open();
        ledger.disturb();
        ledger.note(format_args!("time jumps to {instant}"));
    }

    fn advance_to(&self, instant: Timestamp) {
        let mut ledger = self.books.open();
        ledger.time_passes();
        let nodes: Vec<_> = ledger.nodes.keys().copied().collect();
        nodes.into_iter().for_each(|node| ledger.node_stirs(node));
        drop(ledger);
        self.clock.advance_to(instant);
    }

    fn spoil_weather(&mut self) {
        let Some(place) = self.draw_node() else { return };
        let weather = match self.dice.below(3) {
            0 => Weather::Stalled,
            1 => Weather::Failing { one_in: 2 },
            _ => Weather::Failing { one_in: 6 },
        };
        self.set_weather(place, weather);
    }

    fn clear_weather(&mut self) {
        for place in 0..self.nodes.len() {
            self.set_weather(place, Weather::Fair);
        }
    }

    pub(super) fn set_weather(&mut self, place: usize, weather: Weather) {
        let node = &self.nodes[place];
        if node.line.weather() == weather {
            return;
        }
        let mut ledger = self.books.open();
        ledger.disturb();
        ledger.note(format_args!("{}: the line is {weather:?}", node.id));
        ledger.node_stirs(node.id);
        drop(ledger);
        node.line.set_weather(weather);
    }

    /// The machine stops, and starts again.
    fn crash(&mut self) {
        self.books.open().note(format_args!("everything crashes"));
        for node in self.nodes.drain(..) {
            node.kill();
        }
        self.reopen();
        for place in 0..self.places {
            self.start_node(place);
        }
    }

    /// One node is no more, and nobody tells the store. Another starts in its place.
    fn lose_node(&mut self) {
        let place = self.dice.below(self.nodes.len());
        let node = self.nodes.remove(place);
        let at = node.id.place;
        node.kill();
        self.start_node(at);
    }

    fn freeze(&mut self) {
        let Some(place) = self.draw_node() else { return };
        // One is left to notice.
        if self.nodes.iter().any(|node| node.is_frozen) {
            return;
        }
        let node = &mut self.nodes[place];
        node.is_frozen = true;
        self.books.open().node_freezes(node.id);
    }

    pub(super) fn wake(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.is_frozen) {
            node.is_frozen = false;
            let mut ledger = self.books.open();
            ledger.disturb();
            ledger.note(format_args!("{} wakes", node.id));
        }
    }

    fn change(&mut self) {
        let ids: Vec<_> = self.books.open().endpoints.keys().copied().collect();
        let id = *self.dice.pick(&ids);
        let (key, label, is_deleted) = {
            let ledger = self.books.open();
            let facts = &ledger.endpoints[&id];
            (facts.key.clone(), facts.label.clone(), facts.is_deleted)
        };
        if is_deleted {
            return;
        }
        let find = self.store().find_endpoint(&key.tenant_id, id);
        let mut endpoint =
            self.admin.block_on(find).expect("the store answers").expect("the endpoint exists");
        let change =
            self.dice.weighted(&[(3, 0), (4, 1), (1, 2), (3, 3), (2, 4), (2, 5), (3, 6), (1, 7), (2, 8)]);
        let what =
            ["pause", "resume", "disable", "enable", "new URL", "rate", "in flight", "delete", "breaker"]
                [change];
        let mut path = None;
        match change {
            0 => endpoint.paused = true,
            1 => endpoint.paused = false,
            2 => endpoint.disabled = Some(DisabledReason::Manual),
            3 => endpoint.disabled = None,
            4 => {
                let generation = usize::try_from(endpoint.version).expect("a small number");
                let new = scene::path(&key.tenant_id, id, generation);
                endpoint.url = scene::url(&new);
                path = Some(new);
            }
            5 => endpoint.policy.rate_limit = scene::draw_rate(&self.dice),
            6 => endpoint.policy.max_in_flight = scene::draw_max_in_flight(&self.dice),
            7 => {
                let delete = self.store().delete_endpoint(&key.tenant_id, id, None, self.clock.now());
                done(self.admin.block_on(delete).expect("the store answers"));
            }
            _ => endpoint.policy.breaker = scene::draw_breaker(&self.dice),
        }
        let (paused, disabled) = (endpoint.paused, endpoint.disabled.is_some());
        let (rate, max_in_flight) = (endpoint.policy.rate_limit, endpoint.policy.max_in_flight);
        if change != 7 {
            let update = self.store().update_endpoint(endpoint);
            done(self.admin.block_on(update).expect("the store answers"));
        }
        let mut ledger = self.books.open();
        ledger.note(format_args!("{label}: {what}"));
        ledger.endpoint_changes(id, |facts| {
            (facts.is_paused, facts.is_disabled, facts.is_deleted) = (paused, disabled, change == 7);
            facts.rate = rate;
            facts.max_in_flight = max_in_flight.unwrap_or(harbor_model::policy::MAX_IN_FLIGHT_DEFAULT);
            facts.path = path.unwrap_or(std::mem::take(&mut facts.path));
        });
    }

    fn draw_final(&self, wanted: impl Fn(DeliveryStatus) -> bool) -> Option<DeliveryId> {
        let ledger = self.books.open();
        let fit = ledger.deliveries.iter().filter(|(_, one)| one.is_final() && wanted(one.status));
        let fit: Vec<_> = fit.map(|(id, _)| *id).collect();
        (!fit.is_empty()).then(|| *self.dice.pick(&fit))
    }

    fn replay(&mut self) {
        let Some(of) = self.draw_final(|status| status != DeliveryStatus::Cancelled) else { return };
        let tenant_id = self.books.open().deliveries[&of].tenant.clone();
        let now = self.clock.now();
        let id = DeliveryId::new(now, &*self.rng);
        let new_webhook_id = self.dice.one_in(3);
        let replay = NewReplay { id, tenant_id, of, reason: None, new_webhook_id, idempotency: None, now };
        let made = self.admin.block_on(self.store().replay(replay)).expect("the store answers");
        match made {
            Replayed::Made(delivery) => {
                self.books.open().replayed(id, of, now);
                let key = harbor_model::port::deliveries::EndpointKey {
                    tenant_id: delivery.tenant_id,
                    endpoint_id: delivery.endpoint_id,
                };
                // Announcing is a hint: it may get lost, or come twice.
                for _ in 0..self.dice.below(3) {
                    if let Some(place) = self.draw_node() {
                        self.nodes[place].announce(std::slice::from_ref(&key));
                    }
                }
            }
            Replayed::Open { .. } | Replayed::NoEndpoint => {}
            other => self.books.open().violated(format!("{of} cannot be replayed: {other:?}")),
        }
    }

    fn discard(&mut self) {
        let Some(id) = self.draw_final(|status| status == DeliveryStatus::Dead) else { return };
        let tenant = self.books.open().deliveries[&id].tenant.clone();
        let discard = self.store().discard(&tenant, id, self.clock.now());
        self.admin.block_on(discard).expect("the store answers");
    }

    fn announce(&mut self) {
        let keys: Vec<_> = self.books.open().endpoints.values().map(|facts| facts.key.clone()).collect();
        let keys: Vec<_> = keys.into_iter().filter(|_| self.dice.one_in(2)).collect();
        if let Some(place) = self.draw_node() {
            self.nodes[place].announce(&keys);
        }
    }

    pub(super) fn upkeep(&mut self) {
        let now = self.clock.now();
        let ended = self.admin.block_on(self.store().end_orphans(now, 100)).expect("the store answers");
        self.admin.block_on(self.store().forget_keys(now, 100)).expect("the store answers");
        if ended > 0 {
            self.books.open().note(format_args!("upkeep ends {ended}"));
            self.audit();
        }
    }

    pub(super) fn audit(&mut self) {
        self.admin.block_on(audit::audit(self.store(), &self.books, &self.tenants));
    }

    /// A node that can be spoken to.
    fn draw_node(&self) -> Option<usize> {
        let awake = self.nodes.iter().enumerate().filter(|(_, node)| !node.is_frozen);
        let awake: Vec<_> = awake.map(|(place, _)| place).collect();
        (!awake.is_empty()).then(|| *self.dice.pick(&awake))
    }

    /// Lets one node do a little, wherever that leaves it.
    fn turn(&mut self) {
        if let Some(place) = self.draw_node() {
            self.nodes[place].step(self.dice.between(1, 12));
        }
    }
}
