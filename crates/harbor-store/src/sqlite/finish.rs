//! Records attempts together with what follows from them.

use std::sync::Arc;

use harbor_model::attempt::Attempt;
use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetterState, DeliveryStatus};
use harbor_model::policy::order::OnDead;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{AttemptResult, Finish, LeasedDelivery};
use harbor_model::time::Timestamp;
use rusqlite::Connection;

use crate::directory::DirectoryCache;
use crate::ending::{End, EndColumns};
use crate::sqlite::health;
use crate::sqlite::lanes::{self, Lane};
use crate::sqlite::leases::LeaseTable;
use crate::sqlite::notices::{self, Dead};
use crate::sqlite::replay::takes_events;
use crate::sqlite::rows::{blob, number, to_json_if_any, value};
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::Work;

/// Results to be recorded, with their leases.
pub(crate) struct FinishAll {
    results: Vec<AttemptResult>,
    leases: Arc<LeaseTable>,
    directory: Arc<DirectoryCache>,
}

/// What was made of one result.
pub(crate) struct Finished {
    pub(crate) finish: Finish,
    /// The directory's version after the endpoint was disabled by it.
    directory_version: Option<u64>,
}

impl FinishAll {
    pub(crate) fn new(
        results: Vec<AttemptResult>,
        leases: Arc<LeaseTable>,
        directory: Arc<DirectoryCache>,
    ) -> Self {
        Self { results, leases, directory }
    }
}

impl Work for FinishAll {
    type Answer = Vec<Result<Finished, Fault>>;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Self::Answer, Trouble> {
        let leases = &self.leases;
        self.results.iter().map(|result| tx.item("finish", |tx| finish(tx, result, leases))).collect()
    }

    fn committed(mut self, answer: &Self::Answer) {
        assert_eq!(self.results.len(), answer.len(), "each result has its answer");
        for (result, finished) in std::mem::take(&mut self.results).into_iter().zip(answer) {
            let Ok(finished) = finished else {
                self.leases.reopen(result.lease.key());
                continue;
            };
            if let Some(version) = finished.directory_version {
                self.directory.observe(&result.lease.delivery.key.tenant_id, version);
            }
            self.leases.end(result.lease.key());
            result.lease.settle();
        }
    }
}

impl Drop for FinishAll {
    /// What was not committed is given back.
    fn drop(&mut self) {
        for result in &self.results {
            self.leases.reopen(result.lease.key());
        }
    }
}

fn finish(tx: &mut Tx<'_>, result: &AttemptResult, leases: &LeaseTable) -> Result<Finished, Trouble> {
    let delivery = &result.lease.delivery;
    let Some(tenant) = tx.tenant(&delivery.key.tenant_id)? else {
        // The tenant is gone, and its rows with it or soon.
        return Ok(Finished { finish: Finish::Superseded, directory_version: None });
    };
    let is_held = leases.close_in(result.lease.key());
    let attempt_count = delivery
        .attempt_count
        .checked_add(u16::from(result.attempt.is_some()))
        .expect("a policy grants fewer attempts");
    let is_moved = is_held && move_on(tx.conn, tenant.number, result, attempt_count)?;
    if let Some(attempt) = &result.attempt {
        let delivery_id = delivery.delivery_id.number();
        insert_attempt(tx.conn, tenant.number, delivery_id, attempt, is_moved.then_some(attempt_count))?;
    }
    if !is_moved {
        return Ok(Finished { finish: Finish::Superseded, directory_version: None });
    }
    if let Next::Dead(cause) = result.next
        && tenant.is_watched
    {
        note_death(tx, tenant.number, delivery, cause, attempt_count, result.decided_at)?;
    }
    let disabled = match result.health {
        Some(news) => health::note(tx, tenant, &delivery.key, news, result.decided_at)?,
        None => None,
    };
    let lane_moved = delivery.is_ordered && let_next_go(tx.conn, tenant.number, result)?;
    let finish = Finish::Recorded { disabled: disabled.map(|disabled| disabled.reason), lane_moved };
    Ok(Finished { finish, directory_version: disabled.map(|disabled| disabled.directory_version) })
}

pub(crate) const LANE_OF_DELIVERY: &str = "SELECT lane_key FROM deliveries WHERE tenant = ?1 AND id = ?2";

/// Lets the next one of a lane go once its head is final. One that is dead may hold it, unless the endpoint is
/// disabled or deleted, also by this very result. Answers whether there is a next one.
fn let_next_go(conn: &Connection, tenant: i64, result: &AttemptResult) -> Result<bool, Trouble> {
    let may_hold = match result.next {
        Next::RetryAt(_) => return Ok(false),
        Next::Delivered => false,
        Next::Dead(_) => result.on_dead == OnDead::Hold,
    };
    let delivery = &result.lease.delivery;
    let id = delivery.delivery_id.number();
    let key: Option<String> =
        conn.prepare_cached(LANE_OF_DELIVERY)?.query_row((tenant, blob(id)), |row| row.get(0))?;
    let Some(key) = key else { return Ok(false) };
    let lane = Lane { tenant, endpoint_id: delivery.key.endpoint_id.number(), key: &key };
    if may_hold && takes_events(conn, tenant, lane.endpoint_id)? {
        lanes::hold(conn, lane, id, result.decided_at)?;
        return Ok(false);
    }
    lanes::leave(conn, lane, id, result.decided_at)
}

pub(crate) const TYPE_OF_DELIVERY: &str = "SELECT event_type FROM deliveries WHERE tenant = ?1 AND id = ?2";

fn note_death(
    tx: &Tx<'_>,
    tenant: i64,
    delivery: &LeasedDelivery,
    cause: Cause,
    attempt_count: u16,
    now: Timestamp,
) -> Result<(), Trouble> {
    let id = delivery.delivery_id.number();
    let event_type: String =
        tx.conn.prepare_cached(TYPE_OF_DELIVERY)?.query_row((tenant, blob(id)), |row| row.get(0))?;
    let dead = Dead {
        delivery_id: id,
        event_id: delivery.event_id.number(),
        event_type: &event_type,
        endpoint_id: delivery.key.endpoint_id.number(),
        cause,
        attempt_count,
    };
    notices::write_dead(tx, tenant, &dead, now)
}

pub(crate) const MOVE_TO_DELIVERED: &str = "UPDATE deliveries
    SET status = ?5, attempt_count = ?4, due_at = NULL, updated_at = ?6, delivered_at = ?6
    WHERE tenant = ?1 AND id = ?2 AND attempt_count = ?3 AND due_at IS NOT NULL";

pub(crate) const MOVE_TO_FAILED: &str = "UPDATE deliveries
    SET status = ?5, attempt_count = ?4, due_at = ?7, updated_at = ?6, interrupted_count = interrupted_count + ?8
    WHERE tenant = ?1 AND id = ?2 AND attempt_count = ?3 AND due_at IS NOT NULL";

pub(crate) const MOVE_TO_DEAD: &str = "UPDATE deliveries
    SET status = ?5, attempt_count = ?4, due_at = NULL, updated_at = ?6, cause = ?7, dead_at = ?6, dlq_state = ?8,
        interrupted_count = interrupted_count + ?9
    WHERE tenant = ?1 AND id = ?2 AND attempt_count = ?3 AND due_at IS NOT NULL";

/// Moves an open delivery on. False where it is not open any more.
///
/// The count of attempts is a second fence behind the lease: two results that both believe to be the
/// n-th attempt cannot both be.
fn move_on(
    conn: &Connection,
    tenant: i64,
    result: &AttemptResult,
    attempt_count: u16,
) -> Result<bool, Trouble> {
    let delivery = &result.lease.delivery;
    let id = blob(delivery.delivery_id.number());
    let before = delivery.attempt_count;
    let now = result.decided_at.unix_ms();
    let moved = match result.next {
        Next::Delivered => conn.prepare_cached(MOVE_TO_DELIVERED)?.execute((
            tenant,
            id,
            before,
            attempt_count,
            DeliveryStatus::Delivered.as_str(),
            now,
        ))?,
        Next::RetryAt(due_at) => {
            // Without an attempt on record it still waits for its first.
            let status = if attempt_count == 0 { DeliveryStatus::Queued } else { DeliveryStatus::Failed };
            conn.prepare_cached(MOVE_TO_FAILED)?.execute((
                tenant,
                id,
                before,
                attempt_count,
                status.as_str(),
                now,
                due_at.unix_ms(),
                result.is_interrupted,
            ))?
        }
        Next::Dead(cause) => conn.prepare_cached(MOVE_TO_DEAD)?.execute((
            tenant,
            id,
            before,
            attempt_count,
            DeliveryStatus::Dead.as_str(),
            now,
            cause.as_str(),
            DeadLetterState::Open.as_str(),
            result.is_interrupted,
        ))?,
    };
    assert!(moved <= 1, "an id names one delivery");
    Ok(moved == 1)
}

pub(crate) const INSERT_ATTEMPT: &str = "INSERT INTO attempts (
        tenant, delivery_id, id, number, started_at, latency_us, http_status, error_class, error,
        remote_address, response_headers, response_body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

fn insert_attempt(
    conn: &Connection,
    tenant: i64,
    delivery_id: u128,
    attempt: &Attempt,
    number: Option<u16>,
) -> Result<(), Trouble> {
    let body = &attempt.response_body;
    let mut insert = conn.prepare_cached(INSERT_ATTEMPT)?;
    insert.raw_bind_parameter(1, tenant)?;
    insert.raw_bind_parameter(2, blob(delivery_id))?;
    insert.raw_bind_parameter(3, blob(attempt.id.number()))?;
    insert.raw_bind_parameter(4, number)?;
    insert.raw_bind_parameter(5, attempt.started_at.unix_ms())?;
    insert.raw_bind_parameter(6, i64::try_from(attempt.latency.as_micros()).unwrap_or(i64::MAX))?;
    insert.raw_bind_parameter(7, attempt.http_status)?;
    insert.raw_bind_parameter(8, attempt.error_class.map(|class| class.as_str()))?;
    insert.raw_bind_parameter(9, attempt.error.as_deref())?;
    insert.raw_bind_parameter(10, attempt.remote_address.map(|address| address.to_string()))?;
    insert.raw_bind_parameter(
        11,
        to_json_if_any(&attempt.response_headers, attempt.response_headers.is_empty()),
    )?;
    insert.raw_bind_parameter(12, (!body.is_empty()).then_some(&**body))?;
    insert.raw_execute()?;
    Ok(())
}

pub(crate) const END_OPEN: &str = "UPDATE deliveries
    SET status = ?3, due_at = NULL, updated_at = ?4, cause = ?5, dead_at = ?6, dlq_state = ?7
    WHERE tenant = ?1 AND id = ?2 AND due_at IS NOT NULL
    RETURNING endpoint_id, lane_key, event_id, event_type, attempt_count";

/// Ends an open delivery, which the caller must hold: with its place in its lane, where the next one goes, and
/// with the notice of its death. False where it is not open.
pub(crate) fn end_open(
    tx: &mut Tx<'_>,
    tenant: i64,
    id: u128,
    end: End,
    now: Timestamp,
) -> Result<bool, Trouble> {
    let Some(ended) = mark_ended(tx.conn, tenant, id, end, now)? else { return Ok(false) };
    if let Some(key) = &ended.lane_key {
        let lane = Lane { tenant, endpoint_id: ended.endpoint_id, key };
        lanes::leave(tx.conn, lane, id, now)?;
    }
    if let End::Dead(cause) = end
        && is_watched(tx.conn, tenant)?
    {
        let dead = Dead {
            delivery_id: id,
            event_id: ended.event_id,
            event_type: &ended.event_type,
            endpoint_id: ended.endpoint_id,
            cause,
            attempt_count: ended.attempt_count,
        };
        notices::write_dead(tx, tenant, &dead, now)?;
    }
    Ok(true)
}

/// What the row of a delivery tells that was ended.
struct Ended {
    endpoint_id: u128,
    lane_key: Option<String>,
    event_id: u128,
    event_type: String,
    attempt_count: u16,
}

fn mark_ended(
    conn: &Connection,
    tenant: i64,
    id: u128,
    end: End,
    now: Timestamp,
) -> Result<Option<Ended>, Trouble> {
    let EndColumns { status, cause, dead_at, dlq_state } = end.columns(now);
    let mut update = conn.prepare_cached(END_OPEN)?;
    let mut rows = update.query((tenant, blob(id), status, now.unix_ms(), cause, dead_at, dlq_state))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Ended {
        endpoint_id: number(row, 0)?,
        lane_key: value(row, 1)?,
        event_id: number(row, 2)?,
        event_type: value(row, 3)?,
        attempt_count: value(row, 4)?,
    }))
}

/// Whether a tenant, which may be deleted, is told of what happens.
fn is_watched(conn: &Connection, tenant: i64) -> Result<bool, Trouble> {
    let sql = "SELECT 1 FROM tenants WHERE number = ?1 AND watched = 1 AND deleted_at IS NULL";
    Ok(conn.prepare_cached(sql)?.exists([tenant])?)
}
