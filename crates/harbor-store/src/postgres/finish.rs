//! Records attempts together with what follows from them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use harbor_model::attempt::Attempt;
use harbor_model::chance::Rng;
use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeliveryStatus};
use harbor_model::id::{NoticeId, TenantId, WorkerId};
use harbor_model::policy::order::OnDead;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{AttemptResult, Finish, HealthNews};
use harbor_model::time::Timestamp;
use tokio::sync::oneshot;
use tokio_postgres::Row;

use crate::postgres::PostgresStore;
use crate::postgres::batcher::{Batch, Weight};
use crate::postgres::database::{Link, Tx};
use crate::postgres::health;
use crate::postgres::hints::Hints;
use crate::postgres::lanes::{self, LaneAt};
use crate::postgres::leases::LeaseBook;
use crate::postgres::notices::dead_subject;
use crate::postgres::registry::lock_tenant;
use crate::postgres::rows::{bigint, to_json_if_any, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

impl PostgresStore {
    /// Records results; one answer for each, in their order.
    pub(crate) async fn finish_all(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>> {
        let mut answers: Vec<Option<Result<Finish, Fault>>> = results.iter().map(|_| None).collect();
        let (mut waiting, mut with_news) = (Vec::new(), Vec::new());
        for (place, result) in results.into_iter().enumerate() {
            if let Some(news) = result.health {
                with_news.push((place, result, news));
                continue;
            }
            let (reply, answer) = oneshot::channel();
            let tenant_id = result.lease.key().tenant_id.clone();
            self.finishes.push(&tenant_id, FinishJob { result, reply });
            waiting.push((place, answer));
        }
        for (place, result, news) in with_news {
            answers[place] = Some(self.finish_with_news(result, news).await);
        }
        for (place, answer) in waiting {
            let answer = answer.await.unwrap_or_else(|_| Err(Trouble::Closed.into_fault("finish")));
            answers[place] = Some(answer);
        }
        answers.into_iter().map(|answer| answer.expect("each result has its answer")).collect()
    }

    /// Records a result that says something of its endpoint, in a transaction of its own: it is rare, and may
    /// change the directory.
    async fn finish_with_news(&self, result: AttemptResult, news: HealthNews) -> Result<Finish, Fault> {
        let key = result.lease.delivery.key.clone();
        let weeks = [result.lease.delivery.created_at];
        let outcome = self.retried_with_partitions("finish", &weeks, async || {
            let tx = self.database.begin_for_workers().await?;
            // Before lanes and leases, as whoever changes an endpoint has it.
            let tenant = lock_tenant(&tx, &key.tenant_id).await?;
            let results = [&result];
            let lanes = lock_lanes(&tx, &results).await?;
            let is_recorded = record(&tx, &self.leases, &*self.rng, &results).await?.contains(&0);
            let disabled = match tenant.filter(|_| is_recorded) {
                Some(tenant) => {
                    health::note(&tx, &*self.rng, tenant, key.endpoint_id, news, result.decided_at).await?
                }
                None => None,
            };
            let moved = advance_lanes(&tx, &results, lanes).await?;
            tx.commit().await?;
            Ok((is_recorded, disabled, moved.contains(&0)))
        });
        let (is_recorded, disabled, lane_moved) = outcome.await?;
        if let Some(disabled) = disabled {
            self.directory.observe(&key.tenant_id, disabled.directory_version);
        }
        if lane_moved || is_recorded && is_due_again(&result) {
            self.hints.signal();
        }
        self.leases.end(result.lease);
        if !is_recorded {
            return Ok(Finish::Superseded);
        }
        Ok(Finish::Recorded { disabled: disabled.map(|disabled| disabled.reason), lane_moved })
    }
}

/// Whether the delivery is due again at once.
fn is_due_again(result: &AttemptResult) -> bool {
    matches!(result.next, Next::RetryAt(due_at) if due_at <= result.decided_at)
}

/// A result on its way into the store.
pub(crate) struct FinishJob {
    result: AttemptResult,
    reply: oneshot::Sender<Result<Finish, Fault>>,
}

/// Records results.
pub(crate) struct FinishBatch {
    leases: Arc<LeaseBook>,
    hints: Arc<Hints>,
    rng: Arc<dyn Rng>,
}

impl FinishBatch {
    pub(crate) fn new(leases: Arc<LeaseBook>, hints: Arc<Hints>, rng: Arc<dyn Rng>) -> Self {
        Self { leases, hints, rng }
    }
}

impl Batch for FinishBatch {
    type Job = FinishJob;
    type Answer = Finish;

    fn weight(&self, job: &FinishJob) -> Weight {
        let bytes = job.result.attempt.as_ref().map_or(0, |attempt| attempt.response_body.len());
        Weight { items: 1, bytes }
    }

    fn tenant<'a>(&self, job: &'a FinishJob) -> &'a TenantId {
        &job.result.lease.key().tenant_id
    }

    fn week(&self, job: &FinishJob) -> Timestamp {
        job.result.lease.delivery.created_at
    }

    /// Lanes are moved by whoever locks them first.
    fn is_ordered(&self, _: &FinishJob) -> bool {
        false
    }

    async fn run(&self, link: Link, jobs: &[FinishJob]) -> Result<Vec<Option<Finish>>, Trouble> {
        // One worker for one statement, since it is by worker and number that leases are found. There is
        // one in a process but for tests.
        let worker = jobs.first().map(|job| job.result.lease.key().worker);
        let (places, results): (Vec<usize>, Vec<&AttemptResult>) = jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| Some(job.result.lease.key().worker) == worker)
            .map(|(place, job)| (place, &job.result))
            .unzip();
        let mut moved = HashSet::new();
        let recorded = if results.iter().any(|result| leaves_a_lane(result)) {
            let tx = Tx::begin(link).await?;
            let lanes = lock_lanes(&tx, &results).await?;
            let recorded = record(&tx, &self.leases, &*self.rng, &results).await?;
            moved = advance_lanes(&tx, &results, lanes).await?;
            tx.commit().await?;
            recorded
        } else {
            record(&link, &self.leases, &*self.rng, &results).await?
        };
        let mut answers: Vec<Option<Finish>> = jobs.iter().map(|_| None).collect();
        for (index, place) in places.into_iter().enumerate() {
            answers[place] = Some(if recorded.contains(&index) {
                Finish::Recorded { disabled: None, lane_moved: moved.contains(&index) }
            } else {
                Finish::Superseded
            });
        }
        Ok(answers)
    }

    fn answer(&self, job: FinishJob, outcome: Result<Finish, Fault>) {
        if let Ok(finish) = &outcome {
            if let Finish::Recorded { lane_moved, .. } = finish
                && (*lane_moved || is_due_again(&job.result))
            {
                self.hints.signal();
            }
            self.leases.end(job.result.lease);
        }
        // On a fault the lease is dropped, which gives it back.
        let _ = job.reply.send(outcome);
    }
}

/// Whether a result ends an ordered delivery, so that the next one of its lane may go.
fn leaves_a_lane(result: &AttemptResult) -> bool {
    result.lease.delivery.is_ordered && !matches!(result.next, Next::RetryAt(_))
}

/// Locks the lanes of deliveries that end, in the order in which everybody does.
pub(crate) const LOCK_LANES: &str = "SELECT s.place, l.tenant, l.endpoint_id, l.lane_key
    FROM (
        SELECT a.place, o.tenant, o.endpoint_id, o.lane_key
        FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS a (tenant_id, delivery_id, place),
        LATERAL (SELECT tenants.number FROM tenants WHERE tenants.id = a.tenant_id OFFSET 0) AS t,
        LATERAL (
            SELECT d.tenant, d.endpoint_id, d.lane_key FROM open_deliveries AS d
            WHERE d.tenant = t.number AND d.id = a.delivery_id AND d.lane_key IS NOT NULL OFFSET 0) AS o
        ORDER BY o.tenant, o.endpoint_id, o.lane_key) AS s,
    LATERAL (
        SELECT lanes.tenant, lanes.endpoint_id, lanes.lane_key FROM lanes
        WHERE lanes.tenant = s.tenant AND lanes.endpoint_id = s.endpoint_id AND lanes.lane_key = s.lane_key
        FOR UPDATE) AS l";

/// Locks the lanes that results end a delivery of; answers each with the result's place.
async fn lock_lanes(tx: &Tx, results: &[&AttemptResult]) -> Result<Vec<(usize, LaneAt)>, Trouble> {
    let leaving: Vec<usize> = (0..results.len()).filter(|index| leaves_a_lane(results[*index])).collect();
    if leaving.is_empty() {
        return Ok(Vec::new());
    }
    let keys = || leaving.iter().map(|index| results[*index].lease.key());
    let tenants: Vec<&str> = keys().map(|key| key.tenant_id.as_str()).collect();
    let ids: Vec<Uuid> = keys().map(|key| Uuid(key.delivery_id.number())).collect();
    let rows = tx.query(LOCK_LANES, &[&tenants, &ids]).await?;
    let read = |row: &Row| {
        let place: usize = whole(row, 0, "place")?;
        Ok((leaving[place - 1], lanes::lane_at(row, 1)?))
    };
    rows.iter().map(read).collect()
}

/// Lets those of these lanes go on whose head has ended, or holds them from now on. Answers the places of the
/// results by which somebody is due.
async fn advance_lanes(
    tx: &Tx,
    results: &[&AttemptResult],
    lanes: Vec<(usize, LaneAt)>,
) -> Result<HashSet<usize>, Trouble> {
    let Some(now) = lanes.iter().map(|(index, _)| results[*index].decided_at).max() else {
        return Ok(HashSet::new());
    };
    let is_holding = |result: &&AttemptResult| {
        leaves_a_lane(result) && result.on_dead == OnDead::Hold && matches!(result.next, Next::Dead(_))
    };
    let holding = results.iter().copied().filter(is_holding);
    let holding: Vec<Uuid> = holding.map(|result| Uuid(result.lease.key().delivery_id.number())).collect();
    let left: Vec<LaneAt> = lanes.iter().map(|(_, lane)| lane.clone()).collect();
    let moved = lanes::advance(tx, &left, &holding, now).await?;
    Ok(lanes.into_iter().filter(|(_, lane)| moved.contains(lane)).map(|(index, _)| index).collect())
}

/// Records each attempt, and moves on the deliveries whose lease still stands.
///
/// A lease is found by its worker and number alone. What is looked up goes by `LATERAL` with `OFFSET 0`, and
/// rows that were found are deleted by their place, which leaves no choice of a plan. A delivery that is
/// retried is locked, so that it stands, and written over itself. The count of attempts is a second fence
/// behind the lease: two results that both believe to be the n-th attempt cannot both be.
pub(crate) const RECORD: &str = concat!(
    "WITH asked AS MATERIALIZED (
        SELECT r.*, t.number AS tenant, t.watched
        FROM unnest($2::text[], $3::uuid[], $4::bigint[], $5::integer[], $6::integer[], $7::integer[], $8::text[],
                    $9::bigint[], $10::bigint[], $11::text[], $12::uuid[], $13::bigint[], $14::bigint[],
                    $15::integer[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bytea[],
                    $21::uuid[])
             WITH ORDINALITY
             AS r (tenant_id, delivery_id, lease_number, before, attempt_count, interruptions, status,
                   decided_at, due_at, cause, attempt_id, started_at, latency_us,
                   http_status, error_class, error, remote_address, response_headers, response_body,
                   notice_id, place)
        LEFT JOIN LATERAL (
            SELECT tenants.number, tenants.watched FROM tenants
            WHERE tenants.id = r.tenant_id AND tenants.deleted_at IS NULL OFFSET 0) AS t ON true
    ), released AS (
        DELETE FROM leases WHERE ctid = ANY(ARRAY(
            SELECT l.ctid FROM unnest($4) AS r (number),
            LATERAL (SELECT ctid FROM leases WHERE worker = $1 AND leases.number = r.number OFFSET 0) AS l))
        RETURNING number
    ), moved AS MATERIALIZED (
        SELECT a.place, a.lease_number, a.attempt_count, a.interruptions, a.status, a.decided_at,
               a.due_at AS next_due_at, a.cause, a.notice_id, a.watched, d.*
        FROM asked AS a,
        LATERAL (
            SELECT o.ctid AS row_place, o.tenant, o.id, o.event_id, o.endpoint_id, o.event_type, o.payload_bytes,
                   o.interrupted_count, o.replay_of, o.new_webhook_id, o.replay_reason, o.replay_job,
                   o.lane_key, o.lane_number
            FROM open_deliveries AS o
            WHERE o.tenant = a.tenant AND o.id = a.delivery_id AND o.attempt_count = a.before OFFSET 0) AS d
        WHERE (a.lease_number IN (SELECT number FROM released)) IS TRUE
    ), ended AS (
        DELETE FROM open_deliveries
        WHERE ctid = ANY(ARRAY(SELECT row_place FROM moved WHERE next_due_at IS NULL))
        RETURNING id
    ), done AS (
        INSERT INTO deliveries_done
               (tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                interrupted_count, updated_at, replay_of, new_webhook_id, replay_reason, replay_job,
                lane_key, lane_number, delivered_at, cause, dead_at, dlq_state)
        SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
               interrupted_count + interruptions, decided_at, replay_of, new_webhook_id, replay_reason, replay_job,
               lane_key, lane_number, CASE WHEN cause IS NULL THEN decided_at END, cause,
               CASE WHEN cause IS NOT NULL THEN decided_at END,
               CASE WHEN cause IS NOT NULL THEN 'open' END
        FROM moved WHERE next_due_at IS NULL AND (id IN (SELECT id FROM ended)) IS TRUE
    ), noticed AS (
        INSERT INTO notices (id, tenant, kind, subject)
        SELECT m.notice_id, m.tenant, 'harborhook.delivery.dead', ",
    dead_subject!("m"),
    " FROM moved AS m
        WHERE m.watched AND m.notice_id IS NOT NULL AND NOT starts_with(m.event_type, 'harborhook.')
          AND (m.id IN (SELECT id FROM ended)) IS TRUE
    ), standing AS MATERIALIZED (
        SELECT m.* FROM moved AS m,
        LATERAL (
            SELECT 1 FROM open_deliveries AS o WHERE o.tenant = m.tenant AND o.id = m.id FOR UPDATE) AS o
        WHERE m.next_due_at IS NOT NULL
    ), retried AS (
        INSERT INTO open_deliveries
               (tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                interrupted_count, due_at, updated_at, new_webhook_id)
        SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
               interrupted_count + interruptions, next_due_at, decided_at, new_webhook_id
        FROM standing
        ON CONFLICT (tenant, id) DO UPDATE
        SET status = EXCLUDED.status, attempt_count = EXCLUDED.attempt_count,
            interrupted_count = EXCLUDED.interrupted_count, due_at = EXCLUDED.due_at,
            updated_at = EXCLUDED.updated_at
    ), tried AS (
        INSERT INTO attempts
               (tenant, delivery_id, id, number, started_at, latency_us, http_status, error_class, error,
                remote_address, response_headers, response_body)
        SELECT tenant, delivery_id, attempt_id,
               CASE WHEN lease_number IN (SELECT lease_number FROM moved) THEN attempt_count END,
               started_at, latency_us, http_status, error_class, error,
               remote_address, response_headers, response_body
        FROM asked WHERE attempt_id IS NOT NULL AND tenant IS NOT NULL
    )
    SELECT place FROM moved"
);

/// Runs [`RECORD`]; answers the places of the results whose deliveries moved on. All are of one worker.
async fn record(
    link: &Link,
    leases: &LeaseBook,
    rng: &dyn Rng,
    results: &[&AttemptResult],
) -> Result<HashSet<usize>, Trouble> {
    let worker = results.first().map_or(WorkerId::from_number(0), |result| result.lease.key().worker);
    let columns = Columns::of(leases, results);
    let notice_ids: Vec<Option<Uuid>> = results.iter().map(|result| notice_id(result, rng)).collect();
    let bodies: Vec<Option<&[u8]>> = columns.bodies;
    let rows = link
        .query(
            RECORD,
            &[
                &Uuid(worker.number()),
                &columns.tenants,
                &columns.deliveries,
                &columns.numbers,
                &columns.before,
                &columns.counts,
                &columns.interruptions,
                &columns.statuses,
                &columns.decided,
                &columns.due,
                &columns.causes,
                &columns.attempts,
                &columns.started,
                &columns.latencies,
                &columns.http,
                &columns.classes,
                &columns.errors,
                &columns.addresses,
                &columns.headers,
                &bodies,
                &notice_ids,
            ],
        )
        .await?;
    rows.iter().map(|row| Ok(whole::<usize>(row, 0, "place")? - 1)).collect()
}

/// Names the notice of a death, should anybody want one.
fn notice_id(result: &AttemptResult, rng: &dyn Rng) -> Option<Uuid> {
    matches!(result.next, Next::Dead(_)).then(|| Uuid(NoticeId::new(result.decided_at, rng).number()))
}

/// Results, column by column.
#[derive(Default)]
struct Columns<'a> {
    tenants: Vec<&'a str>,
    deliveries: Vec<Uuid>,
    /// None where the lease was given back.
    numbers: Vec<Option<i64>>,
    before: Vec<i32>,
    counts: Vec<i32>,
    interruptions: Vec<i32>,
    statuses: Vec<&'static str>,
    decided: Vec<i64>,
    due: Vec<Option<i64>>,
    causes: Vec<Option<&'static str>>,
    attempts: Vec<Option<Uuid>>,
    started: Vec<Option<i64>>,
    latencies: Vec<Option<i64>>,
    http: Vec<Option<i32>>,
    classes: Vec<Option<&'static str>>,
    errors: Vec<Option<Cow<'a, str>>>,
    addresses: Vec<Option<String>>,
    headers: Vec<Option<String>>,
    bodies: Vec<Option<&'a [u8]>>,
}

impl<'a> Columns<'a> {
    fn of(leases: &LeaseBook, results: &[&'a AttemptResult]) -> Self {
        let mut columns = Self::default();
        for result in results {
            columns.push_delivery(leases, result);
            columns.push_attempt(result.attempt.as_ref());
        }
        columns
    }

    fn push_delivery(&mut self, leases: &LeaseBook, result: &'a AttemptResult) {
        let key = result.lease.key();
        let before = result.lease.delivery.attempt_count;
        let count =
            before.checked_add(u16::from(result.attempt.is_some())).expect("a policy grants fewer attempts");
        let (status, due_at, cause): (DeliveryStatus, Option<Timestamp>, Option<Cause>) = match result.next {
            Next::Delivered => (DeliveryStatus::Delivered, None, None),
            // Without an attempt on record it still waits for its first.
            Next::RetryAt(due_at) if count == 0 => (DeliveryStatus::Queued, Some(due_at), None),
            Next::RetryAt(due_at) => (DeliveryStatus::Failed, Some(due_at), None),
            Next::Dead(cause) => (DeliveryStatus::Dead, None, Some(cause)),
        };
        self.tenants.push(key.tenant_id.as_str());
        self.deliveries.push(Uuid(key.delivery_id.number()));
        self.numbers.push(leases.is_out(key).then(|| bigint(key.number)));
        self.before.push(i32::from(before));
        self.counts.push(i32::from(count));
        self.interruptions.push(i32::from(result.is_interrupted));
        self.statuses.push(status.as_str());
        self.decided.push(result.decided_at.unix_ms());
        self.due.push(due_at.map(Timestamp::unix_ms));
        self.causes.push(cause.map(Cause::as_str));
    }

    fn push_attempt(&mut self, attempt: Option<&'a Attempt>) {
        let latency = |attempt: &Attempt| bigint(attempt.latency.as_micros());
        self.attempts.push(attempt.map(|attempt| Uuid(attempt.id.number())));
        self.started.push(attempt.map(|attempt| attempt.started_at.unix_ms()));
        self.latencies.push(attempt.map(latency));
        self.http.push(attempt.and_then(|attempt| attempt.http_status).map(i32::from));
        self.classes.push(attempt.and_then(|attempt| attempt.error_class).map(|class| class.as_str()));
        self.errors.push(attempt.and_then(|attempt| attempt.error.as_deref()).map(without_nul));
        self.addresses.push(attempt.and_then(|attempt| attempt.remote_address).map(|at| at.to_string()));
        self.headers.push(attempt.and_then(|attempt| {
            to_json_if_any(&attempt.response_headers, attempt.response_headers.is_empty())
        }));
        let body = attempt.map(|attempt| &*attempt.response_body);
        self.bodies.push(body.filter(|body| !body.is_empty()));
    }
}

/// PostgreSQL keeps any character in a text but NUL, which a peer may have put into what went wrong.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}
