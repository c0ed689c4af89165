//! What may happen next, drawn from the seed.

use std::time::Duration;

use bytes::Bytes;
use harbor_ingest::request::PublishRequest;
use harbor_model::attempt::ErrorClass;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::endpoint::{DisabledReason, Drain};
use harbor_model::id::{DeliveryId, JobId};
use harbor_model::job::{Job, JobCounts, JobStatus, ReplayTask, Selection, Task};
use harbor_model::lane::{Release, Released};
use harbor_model::port::history::DeliveryFilter;
use harbor_model::port::interventions::Intervened;
use harbor_model::port::jobs::{JobCreated, NewJob};
use harbor_model::port::upkeep::{NewReplay, Replayed};
use harbor_model::time::{Clock, Timestamp};

use harbor_model::id::TenantId;
use harbor_model::lane::OrderedLane;
use harbor_model::port::deliveries::EndpointKey;
use tokio_util::sync::CancellationToken;

use crate::receivers::Answer;
use crate::sim::audit;
use crate::sim::ledger::PublishFacts;
use crate::sim::scene::{self, EVENT_TYPES, done};
use crate::sim::wire::Weather;
use crate::sim::{Simulation, Stores};
use crate::world::WORLD_BEGINS;

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
    Retry,
    Cancel,
    Expunge,
    Release,
    Job,
    WorkJobs,
    Age,
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
    (2, Step::Retry),
    (2, Step::Cancel),
    (1, Step::Expunge),
    (2, Step::Release),
    (1, Step::Job),
    (4, Step::WorkJobs),
    (2, Step::Announce),
    (1, Step::Upkeep),
    (2, Step::Audit),
    (6, Step::Nothing),
];

/// Weeks may go by in few of the runs: most of what there is would be gone.
const AGED: &[(usize, Step)] = &[(1, Step::Age)];

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
        let split = if self.places > 1 { SPLIT } else { &[] };
        let aged = if self.seed.is_multiple_of(8) { AGED } else { &[] };
        let choices: Vec<_> = ALWAYS.iter().chain(split).chain(aged).copied().collect();
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
            Step::Retry => self.retry(),
            Step::Cancel => self.cancel(),
            Step::Expunge => self.expunge(),
            Step::Release => self.release(),
            Step::Job => self.start_job(),
            Step::WorkJobs => self.work_jobs(),
            Step::Age => self.age(),
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
        let ordering_key = (!self.dice.one_in(3)).then(|| format!("o{}", self.dice.below(3)));
        let key = idempotency_key.clone();
        ledger.note(format_args!(
            "publish {number} of {event_type} by {tenant}, key {}",
            key.as_deref().unwrap_or("-")
        ));
        let (tenant, payload_kept, kind) = (tenant.clone(), payload.clone(), event_type.clone());
        let asked = ledger.tick();
        ledger.publishes.push(PublishFacts {
            tenant,
            event_type: kind,
            payload: payload_kept,
            key,
            asked,
            answer: None,
        });
        let request = PublishRequest {
            event_type,
            payload,
            idempotency_key,
            deliver_at,
            ordering_key,
            ..PublishRequest::default()
        };
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
        let change = self.dice.weighted(&[
            (3, 0),
            (4, 1),
            (1, 2),
            (3, 3),
            (2, 4),
            (2, 5),
            (3, 6),
            (1, 7),
            (2, 8),
            (2, 9),
        ]);
        let what = [
            "pause",
            "resume",
            "disable",
            "enable",
            "new URL",
            "rate",
            "in flight",
            "delete",
            "breaker",
            "drain",
        ][change];
        let mut path = None;
        match change {
            0 => (endpoint.paused, endpoint.drain) = (true, None),
            1 => (endpoint.paused, endpoint.drain) = (false, None),
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
            8 => endpoint.policy.breaker = scene::draw_breaker(&self.dice),
            _ => {
                let per_second = u32::try_from(self.dice.between(2, 20)).expect("a small number");
                let drain = Drain { per_second, since: self.clock.now() };
                (endpoint.paused, endpoint.drain) = (false, Some(drain));
            }
        }
        endpoint.updated_at = self.clock.now();
        let is_draining = endpoint.drain.is_some();
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
            facts.is_draining = is_draining;
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
            Replayed::Expired if self.is_expunged(of) => {}
            other => self.books.open().violated(format!("{of} cannot be replayed: {other:?}")),
        }
    }

    fn discard(&mut self) {
        let Some(id) = self.draw_final(|status| status == DeliveryStatus::Dead) else { return };
        let tenant = self.books.open().deliveries[&id].tenant.clone();
        let discard = self.store().discard(&tenant, id, self.clock.now());
        self.admin.block_on(discard).expect("the store answers");
    }

    fn is_expunged(&self, id: DeliveryId) -> bool {
        let ledger = self.books.open();
        ledger.events[&ledger.deliveries[&id].event].is_expunged
    }

    fn draw_open(&self) -> Option<(DeliveryId, TenantId)> {
        let ledger = self.books.open();
        let open = ledger.deliveries.iter().filter(|(_, one)| !one.is_final());
        let open: Vec<_> = open.map(|(id, one)| (*id, one.tenant.clone())).collect();
        (!open.is_empty()).then(|| self.dice.pick(&open).clone())
    }

    /// What people do to a delivery that upkeep may have ended unnoticed is learned from what is there.
    fn retry(&mut self) {
        let Some((id, tenant)) = self.draw_open() else { return };
        let retry = self.store().retry_now(&tenant, id, self.clock.now());
        let answer = self.admin.block_on(retry).expect("the store answers");
        let mut ledger = self.books.open();
        let label = ledger.label_of(id);
        match answer {
            Intervened::Done(delivery) => {
                ledger.note(format_args!("{label} is to be retried now"));
                let known = ledger.deliveries.get_mut(&id).expect("it was drawn");
                known.due_at = delivery.next_attempt_at.or(known.due_at);
            }
            Intervened::Behind => {
                let is_ordered = ledger.deliveries[&id].lane.is_some();
                ledger.hold(is_ordered, || format!("{label} waits behind nobody"));
            }
            Intervened::Missing => ledger.violated(format!("{label} cannot be found to be retried")),
            Intervened::Final(status) => ledger.violated(format!("{label} is {status} and was open")),
        }
    }

    fn cancel(&mut self) {
        let Some((id, tenant)) = self.draw_open() else { return };
        let now = self.clock.now();
        let cancel = self.store().cancel(&tenant, id, now);
        let answer = self.admin.block_on(cancel).expect("the store answers");
        let mut ledger = self.books.open();
        let label = ledger.label_of(id);
        match answer {
            Intervened::Done(_) => {
                ledger.note(format_args!("{label} is cancelled"));
                ledger.taken_away(id, DeliveryStatus::Cancelled, now);
            }
            other => ledger.violated(format!("{label} cannot be cancelled: {other:?}")),
        }
    }

    fn expunge(&mut self) {
        let (id, tenant) = {
            let ledger = self.books.open();
            let kept = ledger.events.iter().filter(|(_, event)| !event.is_expunged);
            let kept: Vec<_> = kept.map(|(id, event)| (*id, event.tenant.clone())).collect();
            if kept.is_empty() {
                return;
            }
            self.dice.pick(&kept).clone()
        };
        let now = self.clock.now();
        let is_there =
            self.admin.block_on(self.store().expunge(&tenant, id, now)).expect("the store answers");
        let mut ledger = self.books.open();
        ledger.hold(is_there, || format!("{id} cannot be found to be expunged"));
        ledger.note(format_args!("{id} is expunged"));
        ledger.events.get_mut(&id).expect("it was drawn").is_expunged = true;
        let open = ledger.deliveries.iter().filter(|(_, one)| one.event == id && !one.is_final());
        let open: Vec<_> = open.map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| ledger.taken_away(id, DeliveryStatus::Dead, now));
    }

    /// Releases a lane, held or not.
    fn release(&mut self) {
        let ids: Vec<_> = self.books.open().endpoints.keys().copied().collect();
        let id = *self.dice.pick(&ids);
        let key = self.books.open().endpoints[&id].key.clone();
        let page = harbor_model::port::page::PageAsk { limit: 500, after: None };
        let lanes =
            self.admin.block_on(self.store().lanes(&key.tenant_id, id, page)).expect("the store answers");
        if lanes.items.is_empty() {
            return;
        }
        let lane = self.dice.pick(&lanes.items).clone();
        let now = self.clock.now();
        let replay = DeliveryId::new(now, &*self.rng);
        let how = if self.dice.one_in(2) { Release::Skip } else { Release::Retry(replay) };
        self.release_lane(&key, &lane, how);
    }

    pub(super) fn release_lane(&mut self, key: &EndpointKey, lane: &OrderedLane, how: Release) {
        let now = self.clock.now();
        let ask = self.store().release_lane(&key.tenant_id, key.endpoint_id, &lane.key, how, now);
        let answer = self.admin.block_on(ask).expect("the store answers");
        let is_held = lane.held_at.is_some();
        let mut ledger = self.books.open();
        match (answer, how) {
            (Released::Done(Some(id)), Release::Skip) => {
                if !ledger.deliveries[&id].is_final() {
                    ledger.taken_away(id, DeliveryStatus::Cancelled, now);
                }
                ledger.lane_moves(key.endpoint_id, &lane.key);
            }
            (Released::Done(Some(id)), Release::Retry(replay)) if is_held => {
                let of = lane.head.as_ref().expect("a dead head holds it").delivery_id;
                if id == replay {
                    ledger.replayed(replay, of, now);
                } else {
                    // A replay that waits in the lane already takes the place.
                    let waits = ledger
                        .deliveries
                        .get(&id)
                        .is_some_and(|one| one.replay_of == Some(of) && !one.is_final());
                    ledger.hold(waits, || format!("{of} is not replayed in its lane but {id}"));
                }
                ledger.lane_moves(key.endpoint_id, &lane.key);
            }
            (Released::Done(Some(id)), Release::Retry(_)) => {
                let due_at = ledger.deliveries[&id].due_at.map(|due_at| due_at.min(now));
                ledger.deliveries.get_mut(&id).expect("it is known").due_at = due_at;
            }
            (Released::Done(None) | Released::Expired | Released::NoEndpoint | Released::Missing, _) => {}
        }
        ledger.disturb();
    }

    fn start_job(&mut self) {
        let tenant = self.dice.pick(&self.tenants).clone();
        let now = self.clock.now();
        let endpoint_id = {
            let ledger = self.books.open();
            let own = ledger.endpoints.values().filter(|facts| facts.key.tenant_id == tenant);
            let own: Vec<_> = own.map(|facts| facts.key.endpoint_id).collect();
            self.dice.one_in(2).then(|| *self.dice.pick(&own))
        };
        let replay = |selection| {
            Task::Replay(ReplayTask {
                selection,
                rate_per_second: self.dice.one_in(2).then_some(2),
                is_dry_run: self.dice.one_in(6),
                new_webhook_id: false,
                reason: None,
            })
        };
        let task = match self.dice.below(4) {
            0 => Task::Cancel(DeliveryFilter { endpoint_id, ..DeliveryFilter::default() }),
            1 => replay(Selection::Filter(DeliveryFilter { endpoint_id, ..DeliveryFilter::default() })),
            2 => {
                let ledger = self.books.open();
                let of_tenant = ledger.deliveries.iter().filter(|(_, one)| one.tenant == tenant);
                let ids: Vec<_> = of_tenant.map(|(id, _)| *id).filter(|_| self.dice.one_in(2)).collect();
                if ids.is_empty() {
                    return;
                }
                replay(Selection::Ids(ids))
            }
            _ => replay(Selection::DeadLetters { from: WORLD_BEGINS, to: now, endpoint_id }),
        };
        if matches!(task, Task::Cancel(_)) {
            self.books.open().cancelling.insert(tenant.clone());
        }
        let id = JobId::new(now, &*self.rng);
        self.books.open().note(format_args!("{id} of {tenant} is to {:?}", task));
        let job = Job {
            id,
            tenant_id: tenant,
            task,
            status: JobStatus::Pending,
            counts: JobCounts::default(),
            removed: std::collections::BTreeMap::new(),
            error: None,
            place: Vec::new(),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let made = self.store().create_job(NewJob { job, idempotency: None }, 100);
        let made = self.admin.block_on(made).expect("the store answers");
        if !matches!(made, JobCreated::Done(_)) {
            self.books.open().violated(format!("{id} is not made: {made:?}"));
        }
    }

    /// Makes the steps of jobs that are due, and learns what they did.
    pub(super) fn work_jobs(&mut self) {
        let Stores { runner, .. } = self.stores.as_mut().expect("it is open");
        let never = CancellationToken::new();
        self.admin.block_on(runner.work(&never));
        self.audit();
    }

    /// Weeks go by, and what is old enough goes.
    fn age(&mut self) {
        self.jump(self.dice.time(86_400 * SECOND, 40 * 86_400 * SECOND));
        self.settle();
        self.sweep();
    }

    pub(super) fn sweep(&mut self) {
        let now = self.clock.now();
        for _ in 0..50 {
            if self.admin.block_on(self.store().sweep(now, 100)).expect("the store answers") == 0 {
                break;
            }
        }
        self.audit();
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
        self.admin.block_on(self.store().end_drains(now, 100)).expect("the store answers");
        self.see_drains();
        if ended > 0 {
            self.books.open().note(format_args!("upkeep ends {ended}"));
            self.audit();
        }
    }

    /// Learns which drains have ended.
    fn see_drains(&mut self) {
        let draining: Vec<_> = {
            let ledger = self.books.open();
            let draining = ledger.endpoints.values().filter(|facts| facts.is_draining && !facts.is_deleted);
            draining.map(|facts| facts.key.clone()).collect()
        };
        for key in draining {
            let find = self.store().find_endpoint(&key.tenant_id, key.endpoint_id);
            let endpoint = self.admin.block_on(find).expect("the store answers");
            if endpoint.is_some_and(|endpoint| endpoint.drain.is_none()) {
                self.books.open().endpoint_changes(key.endpoint_id, |facts| facts.is_draining = false);
            }
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
