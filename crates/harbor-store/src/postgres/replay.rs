//! Makes new deliveries of old events, and puts dead letters aside.

use async_trait::async_trait;
use harbor_model::delivery::{DeadLetterState, Delivery, DeliveryStatus};
use harbor_model::directory::TenantSnapshot;
use harbor_model::id::{DeliveryId, EventId, TenantId};
use harbor_model::lane::{LaneKey, lane_of};
use harbor_model::port::Fault;
use harbor_model::port::directory::Directory;
use harbor_model::port::upkeep::{Discarded, NewReplay, Replayed, Replays};
use harbor_model::time::Timestamp;

use crate::claims::{Held, Scope, replay_fingerprint};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Tx, retried};
use crate::postgres::history::find_delivery;
use crate::postgres::lanes::{self, Joiner, LaneAt};
use crate::postgres::registry::find_tenant_number;
use crate::postgres::rows::{DONE_COLUMNS, delivery, number, value, whole, whole_if_any};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl Replays for PostgresStore {
    async fn replay(&self, replay: NewReplay) -> Result<Replayed, Fault> {
        assert_eq!(replay.now, replay.id.made_at(), "a delivery's time is that of its id");
        let directory = Directory::tenant(self, &replay.tenant_id).await?;
        let replayed = retried("replay", async || {
            let tx = self.database.begin().await?;
            let replayed = make(&tx, &replay, directory.as_deref()).await?;
            // A refusal is not committed: the key that it claimed is free again.
            if matches!(replayed, Replayed::Made(_)) {
                tx.commit().await?;
            }
            Ok(replayed)
        })
        .await?;
        if matches!(replayed, Replayed::Made(_)) {
            self.hints.signal();
        }
        Ok(replayed)
    }

    async fn discard(&self, tenant: &TenantId, id: DeliveryId, now: Timestamp) -> Result<Discarded, Fault> {
        retried("discard", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else {
                return Ok(Discarded::Missing);
            };
            let (open, discarded) = (DeadLetterState::Open.as_str(), DeadLetterState::Discarded.as_str());
            link.execute(DISCARD, &[&number, &Uuid(id.number()), &open, &discarded, &now.unix_ms()]).await?;
            let Some(found) = find_delivery(&link, number, tenant, id).await? else {
                return Ok(Discarded::Missing);
            };
            Ok(match found.dead_letter.as_ref().map(|dead| dead.state) {
                Some(DeadLetterState::Discarded) => Discarded::Done(found),
                Some(DeadLetterState::Replayed) => Discarded::Replayed,
                // It died between the two looks: when it was to be discarded, it was no dead letter.
                Some(DeadLetterState::Open) | None => Discarded::Missing,
            })
        })
        .await
    }
}

pub(crate) const DISCARD: &str = "UPDATE deliveries_done SET dlq_state = $4, updated_at = $5
    WHERE tenant = $1 AND id = $2 AND dlq_state = $3";

async fn make(tx: &Tx, replay: &NewReplay, directory: Option<&TenantSnapshot>) -> Result<Replayed, Trouble> {
    let Some(tenant) = find_tenant_number(tx, &replay.tenant_id).await? else { return Ok(Replayed::Missing) };
    // First of all: who asks the same at the same time waits here until this one is committed, or not.
    if let Some((key, expires_at)) = &replay.idempotency {
        let claim = Claim {
            scope: Scope::Replay,
            key,
            made: replay.id.number(),
            fingerprint: &replay_fingerprint(replay),
            expires_at: *expires_at,
            now: replay.now,
        };
        match claim.take(tx, tenant).await? {
            None => {}
            Some(Held::Other) => return Ok(Replayed::KeyReused),
            Some(Held::Same { made, .. }) => {
                let first =
                    find_delivery(tx, tenant, &replay.tenant_id, DeliveryId::from_number(made)).await?;
                return Ok(first.map_or(Replayed::Missing, Replayed::Made));
            }
        }
    }
    // What is open may become final meanwhile, never the other way round.
    if tx.query_opt(FIND_OPEN, &[&tenant, &Uuid(replay.of.number())]).await?.is_some() {
        return Ok(Replayed::NotFinal);
    }
    let Some(original) = lock_original(tx, tenant, replay).await? else { return Ok(Replayed::Missing) };
    if let Some(row) = tx.query_opt(OPEN_REPLAY, &[&tenant, &Uuid(replay.of.number())]).await? {
        return Ok(Replayed::Open { by: DeliveryId::from_number(number(&row, 0)?) });
    }
    let Some(event) = lock_event(tx, tenant, original.event_id).await? else { return Ok(Replayed::Expired) };
    if !takes_events(tx, tenant, &original).await? {
        return Ok(Replayed::NoEndpoint);
    }

    let lane = lane(directory, &original, event.ordering_key.as_deref());
    insert(tx, tenant, replay, &original, event.payload_bytes, lane).await?;
    mark_replayed(tx, tenant, replay).await?;
    let made = find_delivery(tx, tenant, &replay.tenant_id, replay.id).await?;
    Ok(Replayed::Made(made.expect("a row can be read in the transaction that wrote it")))
}

pub(crate) const TAKE_KEY: &str = "INSERT INTO idempotency_keys AS stored
        (tenant, scope, key, made_id, fan_out_count, fingerprint, expires_at)
    VALUES ($1, $2, $3, $4, 1, $5, $6)
    ON CONFLICT (tenant, scope, key) DO UPDATE
    SET made_id = excluded.made_id, fan_out_count = 1, fingerprint = excluded.fingerprint,
        expires_at = excluded.expires_at
    WHERE stored.expires_at <= $7";

pub(crate) const FIND_KEY: &str = "SELECT made_id, fan_out_count, fingerprint FROM idempotency_keys
    WHERE tenant = $1 AND scope = $2 AND key = $3";

/// A claim on an idempotency key.
pub(crate) struct Claim<'a> {
    pub(crate) scope: Scope,
    pub(crate) key: &'a str,
    /// The number of what is made with it.
    pub(crate) made: u128,
    /// What a repeat must agree in.
    pub(crate) fingerprint: &'a [u8; 32],
    pub(crate) expires_at: Timestamp,
    pub(crate) now: Timestamp,
}

impl Claim<'_> {
    /// Takes the key, also one whose window is over; answers what stands against it, if anything does.
    pub(crate) async fn take(&self, tx: &Tx, tenant: i64) -> Result<Option<Held>, Trouble> {
        let Self { key, .. } = self;
        let scope = self.scope.as_str();
        let taken = tx
            .execute(
                TAKE_KEY,
                &[
                    &tenant,
                    &scope,
                    key,
                    &Uuid(self.made),
                    &self.fingerprint.as_slice(),
                    &self.expires_at.unix_ms(),
                    &self.now.unix_ms(),
                ],
            )
            .await?;
        if taken == 1 {
            return Ok(None);
        }
        let held = tx.query_opt(FIND_KEY, &[&tenant, &scope, key]).await?;
        let held = held.ok_or_else(|| Trouble::damaged("claim", "it went while it was looked at"))?;
        if value::<&[u8]>(&held, 2)? != self.fingerprint {
            return Ok(Some(Held::Other));
        }
        let fan_out_count = whole(&held, 1, "fan-out")?;
        Ok(Some(Held::Same { made: number(&held, 0)?, fan_out_count }))
    }

    /// Makes the key stand for what is made now: what it stood for is no longer kept.
    pub(crate) async fn take_over(&self, tx: &Tx, tenant: i64) -> Result<(), Trouble> {
        let sql = "UPDATE idempotency_keys SET made_id = $4 WHERE tenant = $1 AND scope = $2 AND key = $3";
        tx.execute(sql, &[&tenant, &self.scope.as_str(), &self.key, &Uuid(self.made)]).await?;
        Ok(())
    }
}

pub(crate) const FIND_OPEN: &str = "SELECT 1 FROM open_deliveries WHERE tenant = $1 AND id = $2";

/// Finds a delivery that is final.
pub(crate) fn lock_original_sql() -> String {
    format!(
        "SELECT {DONE_COLUMNS} FROM deliveries_done AS d WHERE d.tenant = $1 AND d.id = $2 FOR NO KEY UPDATE"
    )
}

/// Reads a delivery that is final. Others who would replay it wait until the end of the transaction.
async fn lock_original(tx: &Tx, tenant: i64, replay: &NewReplay) -> Result<Option<Delivery>, Trouble> {
    let found = tx.query_opt(&lock_original_sql(), &[&tenant, &Uuid(replay.of.number())]).await?;
    found.map(|row| delivery(&row, &replay.tenant_id)).transpose()
}

pub(crate) const OPEN_REPLAY: &str =
    "SELECT id FROM open_deliveries WHERE tenant = $1 AND replay_of = $2 LIMIT 1";

/// What of an event its replay needs.
pub(crate) struct Replayable {
    pub(crate) payload_bytes: i64,
    pub(crate) ordering_key: Option<String>,
}

pub(crate) const LOCK_EVENT: &str =
    "SELECT octet_length(payload), ordering_key FROM events WHERE tenant = $1 AND id = $2 FOR KEY SHARE";

/// Reads an event that is to be replayed, and keeps it from being removed until the end of the transaction;
/// none where its payload is no longer kept.
pub(crate) async fn lock_event(tx: &Tx, tenant: i64, id: EventId) -> Result<Option<Replayable>, Trouble> {
    let Some(row) = tx.query_opt(LOCK_EVENT, &[&tenant, &Uuid(id.number())]).await? else { return Ok(None) };
    let payload_bytes: Option<i64> = whole_if_any(&row, 0, "size of the payload")?;
    let ordering_key = value(&row, 1)?;
    Ok(payload_bytes.map(|payload_bytes| Replayable { payload_bytes, ordering_key }))
}

/// The ordered lane that a replay joins, by what is in force now.
fn lane(directory: Option<&TenantSnapshot>, original: &Delivery, key: Option<&str>) -> Option<LaneKey> {
    let view = directory?.endpoints.get(&original.endpoint_id)?;
    lane_of(view.policy.ordering.value, key)
}

async fn takes_events(tx: &Tx, tenant: i64, original: &Delivery) -> Result<bool, Trouble> {
    let sql = "SELECT 1 FROM endpoints
               WHERE tenant = $1 AND id = $2 AND disabled IS NULL AND deleted_at IS NULL";
    Ok(tx.query_opt(sql, &[&tenant, &Uuid(original.endpoint_id.number())]).await?.is_some())
}

async fn insert(
    tx: &Tx,
    tenant: i64,
    replay: &NewReplay,
    original: &Delivery,
    payload_bytes: i64,
    lane: Option<LaneKey>,
) -> Result<(), Trouble> {
    let (id, endpoint) = (Uuid(replay.id.number()), Uuid(original.endpoint_id.number()));
    let key = lane.as_ref().map(LaneKey::as_str);
    let joiner = key.map(|key| Joiner { lane: LaneAt { tenant, endpoint, key: key.to_owned() }, id });
    let place = lanes::join(tx, joiner.as_slice()).await?.pop();
    let due_at = place.is_none_or(|place| place.is_head).then_some(replay.now.unix_ms());
    let sql = "INSERT INTO open_deliveries (
            tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
            interrupted_count, due_at, updated_at, replay_of, new_webhook_id, replay_reason, lane_key,
            lane_number)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, $9, $10, $11, $12, $13, $14)";
    tx.execute(
        sql,
        &[
            &tenant,
            &id,
            &Uuid(original.event_id.number()),
            &endpoint,
            &original.event_type.as_str(),
            &payload_bytes,
            &DeliveryStatus::Queued.as_str(),
            &due_at,
            &replay.now.unix_ms(),
            &Uuid(replay.of.number()),
            &replay.new_webhook_id,
            &replay.reason,
            &key,
            &place.map(|place| place.number),
        ],
    )
    .await?;
    Ok(())
}

pub(crate) const MARK_REPLAYED: &str =
    "UPDATE deliveries_done SET dlq_state = $3, replayed_by = $4, updated_at = $5
    WHERE tenant = $1 AND id = $2 AND dlq_state IS NOT NULL";

/// A dead letter that is replayed is no longer open, whatever becomes of its replay.
async fn mark_replayed(tx: &Tx, tenant: i64, replay: &NewReplay) -> Result<(), Trouble> {
    let of = Uuid(replay.of.number());
    let replayed = DeadLetterState::Replayed.as_str();
    let by = Uuid(replay.id.number());
    tx.execute(MARK_REPLAYED, &[&tenant, &of, &replayed, &by, &replay.now.unix_ms()]).await?;
    Ok(())
}
