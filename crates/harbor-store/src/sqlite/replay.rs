//! Makes new deliveries of old events, and puts dead letters aside.

use async_trait::async_trait;
use harbor_model::delivery::DeadLetterState;
use harbor_model::directory::TenantSnapshot;
use harbor_model::id::{DeliveryId, EndpointId, EventId, JobId, TenantId};
use harbor_model::lane::{LaneKey, lane_of};
use harbor_model::policy::order::Ordering;
use harbor_model::port::Fault;
use harbor_model::port::directory::Directory;
use harbor_model::port::upkeep::{Discarded, NewReplay, Replayed, Replays};
use harbor_model::time::Timestamp;
use rusqlite::Connection;

use crate::claims::{Held, Scope, replay_fingerprint};
use crate::sqlite::SqliteStore;
use crate::sqlite::claims::{self, Claim};
use crate::sqlite::history::find_delivery;
use crate::sqlite::leases::LeaseTable;
use crate::sqlite::publish::DeliveryRow;
use crate::sqlite::rows::{blob, number, value};
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Replays for SqliteStore {
    async fn replay(&self, replay: NewReplay) -> Result<Replayed, Fault> {
        assert_eq!(replay.now, replay.id.made_at(), "a delivery's time is that of its id");
        let leases = self.leases.clone();
        let tenant_id = replay.tenant_id.clone();
        let snapshot = self.tenant(&tenant_id).await?;
        let make = move |tx: &mut Tx<'_>| make(tx, &replay, snapshot.as_deref(), &leases);
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

fn make(
    tx: &mut Tx<'_>,
    replay: &NewReplay,
    snapshot: Option<&TenantSnapshot>,
    leases: &LeaseTable,
) -> Result<Replayed, Trouble> {
    let Some(tenant) = tx.tenant(&replay.tenant_id)? else { return Ok(Replayed::Missing) };
    let tenant = tenant.number;
    let claim = replay.idempotency.as_ref().map(|(key, expires_at)| Claim {
        tenant,
        scope: Scope::Replay,
        key,
        fingerprint: replay_fingerprint(replay),
        expires_at: *expires_at,
        slides: false,
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
    let repeat = Repeat {
        id: replay.id,
        of: replay.of,
        reason: replay.reason.as_deref(),
        new_webhook_id: replay.new_webhook_id,
        job: None,
        now: replay.now,
    };
    match repeat.make(tx.conn, tenant, snapshot)? {
        Repeated::Made => {}
        Repeated::Missing => return Ok(Replayed::Missing),
        Repeated::NotFinal => return Ok(Replayed::NotFinal),
        Repeated::Open { by } => return Ok(Replayed::Open { by }),
        Repeated::Expired => return Ok(Replayed::Expired),
        Repeated::NoEndpoint => return Ok(Replayed::NoEndpoint),
    }
    if let Some(claim) = &claim {
        let is_taken = claims::take(tx, claim, replay.id.number(), 1, replay.now)?;
        assert!(is_taken, "the key was seen to be free in this transaction");
    }
    let made = find_delivery(tx.conn, tenant, &replay.tenant_id, replay.id, false)?;
    Ok(Replayed::Made(made.expect("a row can be read in the transaction that wrote it")))
}

/// A new delivery to be made of what an old one owed, whoever asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeat<'a> {
    pub(crate) id: DeliveryId,
    pub(crate) of: DeliveryId,
    pub(crate) reason: Option<&'a str>,
    pub(crate) new_webhook_id: bool,
    pub(crate) job: Option<JobId>,
    pub(crate) now: Timestamp,
}

/// What came of a [`Repeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeated {
    Made,
    Missing,
    NotFinal,
    Open { by: DeliveryId },
    Expired,
    NoEndpoint,
}

impl Repeat<'_> {
    /// Makes it, at the end of its lane if the endpoint as it is in `snapshot` orders its events.
    pub(crate) fn make(
        &self,
        conn: &Connection,
        tenant: i64,
        snapshot: Option<&TenantSnapshot>,
    ) -> Result<Repeated, Trouble> {
        let Some(original) = find_original(conn, tenant, self.of)? else { return Ok(Repeated::Missing) };
        if original.is_open {
            return Ok(Repeated::NotFinal);
        }
        if let Some(by) = find_open_replay(conn, tenant, self.of)? {
            return Ok(Repeated::Open { by });
        }
        let Some(owed) = find_owed(conn, tenant, original.event_id)? else { return Ok(Repeated::Expired) };
        if !takes_events(conn, tenant, original.endpoint_id)? {
            return Ok(Repeated::NoEndpoint);
        }
        let endpoint_id = EndpointId::from_number(original.endpoint_id);
        let view = snapshot.and_then(|snapshot| snapshot.endpoints.get(&endpoint_id));
        let ordering = view.map_or(Ordering::None, |view| view.policy.ordering.value);
        let lane = lane_of(ordering, owed.ordering_key.as_deref());
        let row = DeliveryRow {
            id: self.id.number(),
            event_id: original.event_id,
            endpoint_id: original.endpoint_id,
            event_type: &original.event_type,
            payload_bytes: owed.payload_bytes,
            due_at: self.now.unix_ms(),
            updated_at: self.now.unix_ms(),
            replay_of: Some(self.of.number()),
            new_webhook_id: self.new_webhook_id,
            replay_reason: self.reason,
            replay_job: self.job.map(JobId::number),
            lane_key: lane.as_ref().map(LaneKey::as_str),
        };
        row.insert(conn, tenant)?;
        mark_replayed(conn, tenant, self.of, self.id, self.now)?;
        Ok(Repeated::Made)
    }
}

/// What of an old delivery its replay needs.
struct Original {
    event_id: u128,
    endpoint_id: u128,
    event_type: String,
    is_open: bool,
}

pub(crate) const FIND_ORIGINAL: &str = "SELECT event_id, endpoint_id, event_type, due_at IS NOT NULL
    FROM deliveries WHERE tenant = ?1 AND id = ?2";

fn find_original(conn: &Connection, tenant: i64, id: DeliveryId) -> Result<Option<Original>, Trouble> {
    let mut query = conn.prepare_cached(FIND_ORIGINAL)?;
    let mut rows = query.query((tenant, blob(id.number())))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Original {
        event_id: number(row, 0)?,
        endpoint_id: number(row, 1)?,
        event_type: value(row, 2)?,
        is_open: value(row, 3)?,
    }))
}

pub(crate) const OPEN_REPLAY: &str = "SELECT id FROM deliveries INDEXED BY deliveries_by_original
    WHERE tenant = ?1 AND replay_of = ?2 AND due_at IS NOT NULL LIMIT 1";

fn find_open_replay(conn: &Connection, tenant: i64, of: DeliveryId) -> Result<Option<DeliveryId>, Trouble> {
    let mut query = conn.prepare_cached(OPEN_REPLAY)?;
    let mut rows = query.query((tenant, blob(of.number())))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(DeliveryId::from_number(number(row, 0)?)))
}

/// What of an event its deliveries need.
struct Owed {
    payload_bytes: u64,
    ordering_key: Option<String>,
}

pub(crate) const FIND_OWED: &str =
    "SELECT length(payload), ordering_key FROM events WHERE tenant = ?1 AND id = ?2 AND payload IS NOT NULL";

/// What is owed of an event; none where its payload is no longer kept.
fn find_owed(conn: &Connection, tenant: i64, event_id: u128) -> Result<Option<Owed>, Trouble> {
    let mut query = conn.prepare_cached(FIND_OWED)?;
    let mut rows = query.query((tenant, blob(event_id)))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Owed { payload_bytes: value(row, 0)?, ordering_key: value(row, 1)? }))
}

/// The size of a payload; none where it is no longer kept.
pub(crate) fn find_payload_bytes(
    conn: &Connection,
    tenant: i64,
    event_id: EventId,
) -> Result<Option<u64>, Trouble> {
    Ok(find_owed(conn, tenant, event_id.number())?.map(|owed| owed.payload_bytes))
}

pub(crate) const TAKES_EVENTS: &str = "SELECT 1 FROM endpoints
    WHERE tenant = ?1 AND id = ?2 AND disabled IS NULL AND deleted_at IS NULL";

/// Whether an endpoint is neither deleted nor disabled.
pub(crate) fn takes_events(conn: &Connection, tenant: i64, endpoint_id: u128) -> Result<bool, Trouble> {
    Ok(conn.prepare_cached(TAKES_EVENTS)?.exists((tenant, blob(endpoint_id)))?)
}

pub(crate) const MARK_REPLAYED: &str =
    "UPDATE deliveries SET dlq_state = ?3, replayed_by = ?4, updated_at = ?5
    WHERE tenant = ?1 AND id = ?2 AND dlq_state IS NOT NULL";

/// A dead letter that is replayed is no longer open, whatever becomes of its replay.
pub(crate) fn mark_replayed(
    conn: &Connection,
    tenant: i64,
    of: DeliveryId,
    by: DeliveryId,
    now: Timestamp,
) -> Result<(), Trouble> {
    conn.prepare_cached(MARK_REPLAYED)?.execute((
        tenant,
        blob(of.number()),
        DeadLetterState::Replayed.as_str(),
        blob(by.number()),
        now.unix_ms(),
    ))?;
    Ok(())
}
