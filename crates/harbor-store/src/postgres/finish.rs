//! Records attempts together with what follows from them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use harbor_model::attempt::Attempt;
use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeliveryStatus};
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::{TenantId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{AttemptResult, Finish};
use harbor_model::time::Timestamp;
use tokio::sync::oneshot;
use tokio_postgres::types::ToSql;

use crate::postgres::PostgresStore;
use crate::postgres::batcher::{Batch, Weight};
use crate::postgres::database::{Link, Tx, retried};
use crate::postgres::hints::Hints;
use crate::postgres::leases::LeaseBook;
use crate::postgres::registry::{lock_tenant, raise_directory_version};
use crate::postgres::rows::{bigint, to_json_if_any, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

impl PostgresStore {
    /// Records results; one answer for each, in their order.
    pub(crate) async fn finish_all(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>> {
        let mut answers = Vec::with_capacity(results.len());
        for result in results {
            let (reply, answer) = oneshot::channel();
            if result.gone_url_version.is_some() {
                answers.push(Answer::Now(self.finish_gone(result).await));
                continue;
            }
            let tenant_id = result.lease.key().tenant_id.clone();
            self.finishes.push(&tenant_id, FinishJob { result, reply });
            answers.push(Answer::Later(answer));
        }
        let mut finished = Vec::with_capacity(answers.len());
        for answer in answers {
            finished.push(match answer {
                Answer::Now(finish) => finish,
                Answer::Later(answer) => {
                    answer.await.unwrap_or_else(|_| Err(Trouble::Closed.into_fault("finish")))
                }
            });
        }
        finished
    }

    /// Records a result that may disable its endpoint, in a transaction of its own: it is rare, and changes
    /// the directory.
    async fn finish_gone(&self, result: AttemptResult) -> Result<Finish, Fault> {
        let outcome = retried("finish", async || {
            let tx = self.database.begin_for_workers().await?;
            let is_recorded = !record(&tx, &self.leases, &[&result]).await?.is_empty();
            let version = if is_recorded { disable_gone(&tx, &result).await? } else { None };
            tx.commit().await?;
            Ok((is_recorded, version))
        });
        let (is_recorded, version) = outcome.await?;
        if let Some(version) = version {
            self.directory.observe(&result.lease.key().tenant_id, version);
        }
        self.leases.end(result.lease);
        if !is_recorded {
            return Ok(Finish::Superseded);
        }
        Ok(Finish::Recorded { endpoint_disabled: version.is_some() })
    }
}

enum Answer {
    Now(Result<Finish, Fault>),
    Later(oneshot::Receiver<Result<Finish, Fault>>),
}

pub(crate) const DISABLE_GONE: &str =
    "UPDATE endpoints SET disabled = $4, version = version + 1, updated_at = $5
    WHERE tenant = $1 AND id = $2 AND url_version = $3 AND disabled IS NULL AND deleted_at IS NULL";

/// Disables an endpoint that said it is gone, if that was said by the URL which is still its own.
/// Answers the directory's version after it.
async fn disable_gone(tx: &Tx, result: &AttemptResult) -> Result<Option<u64>, Trouble> {
    let key = &result.lease.delivery.key;
    let Some(url_version) = result.gone_url_version else { return Ok(None) };
    let Some(tenant) = lock_tenant(tx, &key.tenant_id).await? else { return Ok(None) };
    let reason = DisabledReason::Gone.as_str();
    let endpoint = Uuid(key.endpoint_id.number());
    let gone: [&(dyn ToSql + Sync); 5] =
        [&tenant, &endpoint, &bigint(url_version), &reason, &result.decided_at.unix_ms()];
    if tx.execute(DISABLE_GONE, &gone).await? == 0 {
        return Ok(None);
    }
    raise_directory_version(tx, tenant).await.map(Some)
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
}

impl FinishBatch {
    pub(crate) fn new(leases: Arc<LeaseBook>, hints: Arc<Hints>) -> Self {
        Self { leases, hints }
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

    async fn run(&self, link: &Link, jobs: &[FinishJob]) -> Result<Vec<Option<Finish>>, Trouble> {
        // One worker for one statement, since it is by worker and number that leases are found. There is
        // one in a process but for tests.
        let worker = jobs.first().map(|job| job.result.lease.key().worker);
        let (places, results): (Vec<usize>, Vec<&AttemptResult>) = jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| Some(job.result.lease.key().worker) == worker)
            .map(|(place, job)| (place, &job.result))
            .unzip();
        let recorded = record(link, &self.leases, &results).await?;
        let mut answers: Vec<Option<Finish>> = jobs.iter().map(|_| None).collect();
        for (index, place) in places.into_iter().enumerate() {
            answers[place] = Some(if recorded.contains(&index) {
                Finish::Recorded { endpoint_disabled: false }
            } else {
                Finish::Superseded
            });
        }
        Ok(answers)
    }

    fn answer(&self, job: FinishJob, outcome: Result<Finish, Fault>) {
        if let Ok(finish) = &outcome {
            if let (Finish::Recorded { .. }, Next::RetryAt(due_at)) = (finish, job.result.next)
                && due_at <= job.result.decided_at
            {
                self.hints.signal();
            }
            self.leases.end(job.result.lease);
        }
        // On a fault the lease is dropped, which gives it back.
        let _ = job.reply.send(outcome);
    }
}

/// Records each attempt, and moves on the deliveries whose lease still stands.
///
/// A lease is found by its worker and number alone. What is looked up goes by `LATERAL` with `OFFSET 0`, and
/// rows that were found are deleted by their place, which leaves no choice of a plan. A delivery that is
/// retried is written over itself. The count of attempts is a second fence behind the lease: two
/// results that both believe to be the n-th attempt cannot both be.
pub(crate) const RECORD: &str = "WITH asked AS MATERIALIZED (
        SELECT r.*, t.number AS tenant
        FROM unnest($2::text[], $3::uuid[], $4::bigint[], $5::integer[], $6::integer[], $7::integer[], $8::text[],
                    $9::bigint[], $10::bigint[], $11::text[], $12::uuid[], $13::bigint[], $14::bigint[],
                    $15::integer[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bytea[])
             WITH ORDINALITY
             AS r (tenant_id, delivery_id, lease_number, before, attempt_count, interruptions, status,
                   decided_at, due_at, cause, attempt_id, started_at, latency_us,
                   http_status, error_class, error, remote_address, response_headers, response_body,
                   place)
        LEFT JOIN LATERAL (
            SELECT tenants.number FROM tenants
            WHERE tenants.id = r.tenant_id AND tenants.deleted_at IS NULL OFFSET 0) AS t ON true
    ), released AS (
        DELETE FROM leases WHERE ctid = ANY(ARRAY(
            SELECT l.ctid FROM unnest($4) AS r (number),
            LATERAL (SELECT ctid FROM leases WHERE worker = $1 AND leases.number = r.number OFFSET 0) AS l))
        RETURNING number
    ), moved AS MATERIALIZED (
        SELECT a.place, a.lease_number, a.attempt_count, a.interruptions, a.status, a.decided_at,
               a.due_at AS next_due_at, a.cause, d.*
        FROM asked AS a,
        LATERAL (
            SELECT o.ctid AS row_place, o.tenant, o.id, o.event_id, o.endpoint_id, o.event_type, o.payload_bytes,
                   o.interrupted_count, o.replay_of, o.new_webhook_id, o.replay_reason, o.lane_key,
                   o.lane_number
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
                interrupted_count, updated_at, replay_of, new_webhook_id, replay_reason, lane_key,
                lane_number, delivered_at, cause, dead_at, dlq_state)
        SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
               interrupted_count + interruptions, decided_at, replay_of, new_webhook_id, replay_reason, lane_key,
               lane_number, CASE WHEN cause IS NULL THEN decided_at END, cause,
               CASE WHEN cause IS NOT NULL THEN decided_at END,
               CASE WHEN cause IS NOT NULL THEN 'open' END
        FROM moved WHERE next_due_at IS NULL AND (id IN (SELECT id FROM ended)) IS TRUE
    ), retried AS (
        INSERT INTO open_deliveries
               (tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                interrupted_count, due_at, updated_at, replay_of, new_webhook_id,
                replay_reason, lane_key, lane_number)
        SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
               interrupted_count + interruptions, next_due_at, decided_at, replay_of, new_webhook_id,
               replay_reason, lane_key, lane_number
        FROM moved WHERE next_due_at IS NOT NULL
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
    SELECT place FROM moved";

/// Runs [`RECORD`]; answers the places of the results whose deliveries moved on. All are of one worker.
async fn record(
    link: &Link,
    leases: &LeaseBook,
    results: &[&AttemptResult],
) -> Result<HashSet<usize>, Trouble> {
    let worker = results.first().map_or(WorkerId::from_number(0), |result| result.lease.key().worker);
    let columns = Columns::of(leases, results);
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
            ],
        )
        .await?;
    rows.iter().map(|row| Ok(whole::<usize>(row, 0, "place")? - 1)).collect()
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
