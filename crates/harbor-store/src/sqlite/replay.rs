//! Makes new deliveries of old events, and puts dead letters aside.

use async_trait::async_trait;
use harbor_model::delivery::{DeadLetterState, Delivery};
use harbor_model::id::{DeliveryId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::upkeep::{Discarded, NewReplay, Replayed, Replays};
use harbor_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::claims::{Held, Scope, replay_fingerprint};
use crate::sqlite::SqliteStore;
use crate::sqlite::claims::{self, Claim};
use crate::sqlite::history::find_delivery;
use crate::sqlite::leases::LeaseTable;
use crate::sqlite::publish::DeliveryRow;
use crate::sqlite::rows::{blob, number};
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Replays for SqliteStore {
    async fn replay(&self, replay: NewReplay) -> Result<Replayed, Fault> {
        assert_eq!(replay.now, replay.id.made_at(), "a delivery's time is that of its id");
        let leases = self.leases.clone();
        let tenant_id = replay.tenant_id.clone();
        let make = move |tx: &mut Tx<'_>| make(tx, &replay, &leases);
        self.database.change_of(tenant_id, make).await
    }

    async fn discard(&self, tenant: &TenantId, id: DeliveryId, now: Timestamp) -> Result<Discarded, Fault> {
        let tenant_id = tenant.clone();
        let discard = move |tx: &mut Tx<'_>| {
            let Some(tenant) = tx.tenant(&tenant_id)? else { return Ok(Discarded::Missing) };
            let sql = "UPDATE deliveries SET dlq_state = ?4, updated_at = ?5
                       WHERE tenant = ?1 AND id = ?2 AND dlq_state = ?3";
            tx.conn.prepare_cached(sql)?.execute((
                tenant.number,
                blob(id.number()),
                DeadLetterState::Open.as_str(),
                DeadLetterState::Discarded.as_str(),
                now.unix_ms(),
            ))?;
            let found = find_delivery(tx.conn, tenant.number, &tenant_id, id, false)?;
            Ok(match found {
                Some(delivery) => match delivery.dead_letter.map(|dead| dead.state) {
                    Some(DeadLetterState::Discarded) => Discarded::Done(delivery),
                    Some(DeadLetterState::Replayed) => Discarded::Replayed,
                    Some(DeadLetterState::Open) => unreachable!("an open dead letter was discarded above"),
                    None => Discarded::Missing,
                },
                None => Discarded::Missing,
            })
        };
        self.database.change_of(tenant.clone(), discard).await
    }
}

fn make(tx: &mut Tx<'_>, replay: &NewReplay, leases: &LeaseTable) -> Result<Replayed, Trouble> {
    let Some(tenant) = tx.tenant(&replay.tenant_id)? else { return Ok(Replayed::Missing) };
    let tenant = tenant.number;
    let claim = replay.idempotency.as_ref().map(|(key, expires_at)| Claim {
        tenant,
        scope: Scope::Replay,
        key,
        fingerprint: replay_fingerprint(replay),
        expires_at: *expires_at,
    });
    if let Some(claim) = &claim {
        match claims::find(tx, claim, replay.now)? {
            Some(Held::Same { made, .. }) => {
                let made = DeliveryId::from_number(made);
                let is_leased = leases.is_leased(made);
                let first = find_delivery(tx.conn, tenant, &replay.tenant_id, made, is_leased)?;
                return Ok(first.map_or(Replayed::Missing, Replayed::Made));
            }
            Some(Held::Other) => return Ok(Replayed::KeyReused),
            None => {}
        }
    }
    let Some(original) = find_delivery(tx.conn, tenant, &replay.tenant_id, replay.of, false)? else {
        return Ok(Replayed::Missing);
    };
    if original.next_attempt_at.is_some() {
        return Ok(Replayed::NotFinal);
    }
    if let Some(by) = find_open_replay(tx.conn, tenant, replay.of)? {
        return Ok(Replayed::Open { by });
    }
    let Some(payload_bytes) = find_payload_bytes(tx.conn, tenant, &original)? else {
        return Ok(Replayed::Expired);
    };
    if !takes_events(tx.conn, tenant, &original)? {
        return Ok(Replayed::NoEndpoint);
    }

    if let Some(claim) = &claim {
        let is_taken = claims::take(tx, claim, replay.id.number(), 1, replay.now)?;
        assert!(is_taken, "the key was seen to be free in this transaction");
    }
    let row = DeliveryRow {
        id: replay.id.number(),
        event_id: original.event_id.number(),
        endpoint_id: original.endpoint_id.number(),
        event_type: original.event_type.as_str(),
        payload_bytes,
        due_at: replay.now.unix_ms(),
        updated_at: replay.now.unix_ms(),
        replay_of: Some(replay.of.number()),
        new_webhook_id: replay.new_webhook_id,
        replay_reason: replay.reason.as_deref(),
    };
    row.insert(tx.conn, tenant)?;
    mark_replayed(tx.conn, tenant, replay)?;
    let made = find_delivery(tx.conn, tenant, &replay.tenant_id, replay.id, false)?;
    Ok(Replayed::Made(made.expect("a row can be read in the transaction that wrote it")))
}

pub(crate) const OPEN_REPLAY: &str = "SELECT id FROM deliveries
    WHERE tenant = ?1 AND replay_of = ?2 AND due_at IS NOT NULL LIMIT 1";

fn find_open_replay(conn: &Connection, tenant: i64, of: DeliveryId) -> Result<Option<DeliveryId>, Trouble> {
    let mut query = conn.prepare_cached(OPEN_REPLAY)?;
    let mut rows = query.query((tenant, blob(of.number())))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(DeliveryId::from_number(number(row, 0)?)))
}

/// The size of the payload; none where it is no longer kept.
fn find_payload_bytes(conn: &Connection, tenant: i64, original: &Delivery) -> Result<Option<u64>, Trouble> {
    let sql = "SELECT length(payload) FROM events WHERE tenant = ?1 AND id = ?2";
    let key = (tenant, blob(original.event_id.number()));
    let found: Option<Option<u64>> = conn.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
    Ok(found.flatten())
}

fn takes_events(conn: &Connection, tenant: i64, original: &Delivery) -> Result<bool, Trouble> {
    let sql = "SELECT 1 FROM endpoints
               WHERE tenant = ?1 AND id = ?2 AND disabled IS NULL AND deleted_at IS NULL";
    Ok(conn.prepare_cached(sql)?.exists((tenant, blob(original.endpoint_id.number())))?)
}

pub(crate) const MARK_REPLAYED: &str =
    "UPDATE deliveries SET dlq_state = ?3, replayed_by = ?4, updated_at = ?5
    WHERE tenant = ?1 AND id = ?2 AND dlq_state IS NOT NULL";

/// A dead letter that is replayed is no longer open, whatever becomes of its replay.
fn mark_replayed(conn: &Connection, tenant: i64, replay: &NewReplay) -> Result<(), Trouble> {
    conn.prepare_cached(MARK_REPLAYED)?.execute((
        tenant,
        blob(replay.of.number()),
        DeadLetterState::Replayed.as_str(),
        blob(replay.id.number()),
        replay.now.unix_ms(),
    ))?;
    Ok(())
}
