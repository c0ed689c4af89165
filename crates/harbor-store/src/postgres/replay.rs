//! Makes new deliveries of old events, and puts dead letters aside.

use async_trait::async_trait;
use harbor_model::delivery::{DeadLetterState, Delivery, DeliveryStatus};
use harbor_model::id::{DeliveryId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::upkeep::{Discarded, NewReplay, Replayed, Replays};
use harbor_model::time::Timestamp;

use crate::claims::{Held, Scope, replay_fingerprint};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Tx, retried};
use crate::postgres::history::find_delivery;
use crate::postgres::registry::find_tenant_number;
use crate::postgres::rows::{DONE_COLUMNS, delivery, number, value, whole, whole_if_any};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl Replays for PostgresStore {
    async fn replay(&self, replay: NewReplay) -> Result<Replayed, Fault> {
        assert_eq!(replay.now, replay.id.made_at(), "a delivery's time is that of its id");
        let replayed = retried("replay", async || {
            let tx = self.database.begin().await?;
            let replayed = make(&tx, &replay).await?;
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

async fn make(tx: &Tx, replay: &NewReplay) -> Result<Replayed, Trouble> {
    let Some(tenant) = find_tenant_number(tx, &replay.tenant_id).await? else { return Ok(Replayed::Missing) };
    // First of all: who asks the same at the same time waits here until this one is committed, or not.
    if let Some((key, expires_at)) = &replay.idempotency
        && let Some(held) = claim(tx, tenant, replay, key, *expires_at).await?
    {
        return Ok(match held {
            Held::Same { made, .. } => {
                let first =
                    find_delivery(tx, tenant, &replay.tenant_id, DeliveryId::from_number(made)).await?;
                first.map_or(Replayed::Missing, Replayed::Made)
            }
            Held::Other => Replayed::KeyReused,
        });
    }
    // What is open may become final meanwhile, never the other way round.
    if tx.query_opt(FIND_OPEN, &[&tenant, &Uuid(replay.of.number())]).await?.is_some() {
        return Ok(Replayed::NotFinal);
    }
    let Some(original) = lock_original(tx, tenant, replay).await? else { return Ok(Replayed::Missing) };
    if let Some(row) = tx.query_opt(OPEN_REPLAY, &[&tenant, &Uuid(replay.of.number())]).await? {
        return Ok(Replayed::Open { by: DeliveryId::from_number(number(&row, 0)?) });
    }
    let Some(payload_bytes) = find_payload_bytes(tx, tenant, &original).await? else {
        return Ok(Replayed::Expired);
    };
    if !takes_events(tx, tenant, &original).await? {
        return Ok(Replayed::NoEndpoint);
    }

    insert(tx, tenant, replay, &original, payload_bytes).await?;
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

/// Takes a key, also one whose window is over; answers what stands against it, if anything does.
async fn claim(
    tx: &Tx,
    tenant: i64,
    replay: &NewReplay,
    key: &str,
    expires_at: Timestamp,
) -> Result<Option<Held>, Trouble> {
    let scope = Scope::Replay.as_str();
    let fingerprint = replay_fingerprint(replay);
    let taken = tx
        .execute(
            TAKE_KEY,
            &[
                &tenant,
                &scope,
                &key,
                &Uuid(replay.id.number()),
                &fingerprint.as_slice(),
                &expires_at.unix_ms(),
                &replay.now.unix_ms(),
            ],
        )
        .await?;
    if taken == 1 {
        return Ok(None);
    }
    let held = tx.query_opt(FIND_KEY, &[&tenant, &scope, &key]).await?;
    let held = held.ok_or_else(|| Trouble::damaged("claim", "it went while it was looked at"))?;
    if value::<&[u8]>(&held, 2)? != fingerprint {
        return Ok(Some(Held::Other));
    }
    let fan_out_count = whole(&held, 1, "fan-out")?;
    Ok(Some(Held::Same { made: number(&held, 0)?, fan_out_count }))
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

/// The size of the payload; none where it is no longer kept.
async fn find_payload_bytes(tx: &Tx, tenant: i64, original: &Delivery) -> Result<Option<i64>, Trouble> {
    let sql = "SELECT octet_length(payload) FROM events WHERE tenant = $1 AND id = $2";
    let found = tx.query_opt(sql, &[&tenant, &Uuid(original.event_id.number())]).await?;
    Ok(found.map(|row| whole_if_any(&row, 0, "size of the payload")).transpose()?.flatten())
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
) -> Result<(), Trouble> {
    let sql = "INSERT INTO open_deliveries (
            tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
            interrupted_count, due_at, updated_at, replay_of, new_webhook_id, replay_reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, $8, $9, $10, $11)";
    tx.execute(
        sql,
        &[
            &tenant,
            &Uuid(replay.id.number()),
            &Uuid(original.event_id.number()),
            &Uuid(original.endpoint_id.number()),
            &original.event_type.as_str(),
            &payload_bytes,
            &DeliveryStatus::Queued.as_str(),
            &replay.now.unix_ms(),
            &Uuid(replay.of.number()),
            &replay.new_webhook_id,
            &replay.reason,
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
