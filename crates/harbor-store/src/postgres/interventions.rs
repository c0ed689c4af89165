//! What people do to deliveries and events while they are under way.

use async_trait::async_trait;
use harbor_model::delivery::{Cause, Delivery, DeliveryStatus};
use harbor_model::id::{DeliveryId, EventId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::interventions::{Intervened, Interventions};
use harbor_model::time::Timestamp;

use crate::ending::End;
use crate::postgres::PostgresStore;
use crate::postgres::database::{Tx, retried};
use crate::postgres::ending;
use crate::postgres::history::find_delivery;
use crate::postgres::registry::find_tenant_number;
use crate::postgres::rows::value;
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl Interventions for PostgresStore {
    async fn retry_now(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Intervened, Fault> {
        self.leases.settled().await;
        let intervened = retried("retry a delivery", async || {
            let tx = self.database.begin().await?;
            let Some(number) = find_tenant_number(&tx, tenant).await? else { return Ok(Intervened::Missing) };
            let waits = lock_waiting(&tx, number, id).await?;
            if waits == Waits::Behind {
                return Ok(Intervened::Behind);
            }
            if waits == Waits::ForItsTime {
                tx.execute(RETRY_NOW, &[&number, &Uuid(id.number()), &now.unix_ms()]).await?;
            }
            let intervened = as_it_is(find_delivery(&tx, number, tenant, id).await?);
            tx.commit().await?;
            Ok(intervened)
        })
        .await?;
        if matches!(intervened, Intervened::Done(_)) {
            self.hints.signal();
        }
        Ok(intervened)
    }

    async fn cancel(&self, tenant: &TenantId, id: DeliveryId, now: Timestamp) -> Result<Intervened, Fault> {
        let weeks = [id.made_at()];
        let (intervened, lane_moved) = self
            .retried_with_partitions("cancel a delivery", &weeks, async || {
                let tx = self.database.begin().await?;
                let Some(number) = find_tenant_number(&tx, tenant).await? else {
                    return Ok((Intervened::Missing, false));
                };
                let ids = [Uuid(id.number())];
                let ended = ending::end(&tx, &*self.rng, number, &ids, End::Cancelled, now).await?;
                let found = find_delivery(&tx, number, tenant, id).await?;
                tx.commit().await?;
                Ok(match found {
                    Some(cancelled) if !ended.ids.is_empty() => {
                        (Intervened::Done(cancelled), ended.lane_moved)
                    }
                    found => (as_it_is(found), false),
                })
            })
            .await?;
        if lane_moved {
            self.hints.signal();
        }
        Ok(intervened)
    }

    async fn expunge(&self, tenant: &TenantId, id: EventId, now: Timestamp) -> Result<bool, Fault> {
        let event = Uuid(id.number());
        let weeks = retried("expunge an event", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(Vec::new()) };
            let rows = link.query(OPEN_OF_EVENT, &[&number, &event]).await?;
            let made_at = |row| Ok(DeliveryId::from_number(value::<Uuid>(row, 0)?.0).made_at());
            rows.iter().map(made_at).collect::<Result<Vec<Timestamp>, Trouble>>()
        })
        .await?;
        let (is_known, lane_moved) = self
            .retried_with_partitions("expunge an event", &weeks, async || {
                let tx = self.database.begin().await?;
                let Some(number) = find_tenant_number(&tx, tenant).await? else { return Ok((false, false)) };
                if tx.execute(EXPUNGE, &[&number, &event, &now.unix_ms()]).await? == 0 {
                    return Ok((false, false));
                }
                let rows = tx.query(OPEN_OF_EVENT, &[&number, &event]).await?;
                let ids = rows.iter().map(|row| value(row, 0)).collect::<Result<Vec<Uuid>, _>>()?;
                let cause = End::Dead(Cause::EventExpired);
                let ended = ending::end(&tx, &*self.rng, number, &ids, cause, now).await?;
                tx.commit().await?;
                Ok((true, ended.lane_moved))
            })
            .await?;
        if lane_moved {
            self.hints.signal();
        }
        Ok(is_known)
    }
}

/// What an intervention finds that changes nothing, or has changed all it will.
fn as_it_is(found: Option<Delivery>) -> Intervened {
    match found {
        None => Intervened::Missing,
        Some(delivery) => match delivery.status {
            DeliveryStatus::Queued | DeliveryStatus::Inflight | DeliveryStatus::Failed => {
                Intervened::Done(delivery)
            }
            DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Cancelled => {
                Intervened::Final(delivery.status)
            }
        },
    }
}

/// What a delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The end of another one in its lane.
    Behind,
    /// The time at which it is due.
    ForItsTime,
    /// The end of its attempt.
    InFlight,
    /// Nothing: it has ended, or there is none.
    NotOpen,
}

pub(crate) const LOCK_WAITING: &str =
    "SELECT due_at IS NULL FROM open_deliveries WHERE tenant = $1 AND id = $2 FOR UPDATE";

pub(crate) const IS_LEASED: &str = "SELECT 1 FROM leases WHERE tenant = $1 AND delivery_id = $2";

/// Says what a delivery waits for. Nobody leases it until the end of the transaction.
pub(crate) async fn lock_waiting(tx: &Tx, tenant: i64, id: DeliveryId) -> Result<Waits, Trouble> {
    let id = Uuid(id.number());
    let Some(row) = tx.query_opt(LOCK_WAITING, &[&tenant, &id]).await? else { return Ok(Waits::NotOpen) };
    if value(&row, 0)? {
        return Ok(Waits::Behind);
    }
    // A statement of its own, which sees the lease that the lock may have waited for.
    let is_leased = tx.query_opt(IS_LEASED, &[&tenant, &id]).await?.is_some();
    Ok(if is_leased { Waits::InFlight } else { Waits::ForItsTime })
}

pub(crate) const RETRY_NOW: &str = "UPDATE open_deliveries SET due_at = $3, updated_at = $3
    WHERE tenant = $1 AND id = $2 AND due_at > $3";

pub(crate) const EXPUNGE: &str = "UPDATE events
    SET payload = NULL, headers = NULL, expunged_at = coalesce(expunged_at, $3)
    WHERE tenant = $1 AND id = $2";

pub(crate) const OPEN_OF_EVENT: &str = "SELECT id FROM open_deliveries WHERE tenant = $1 AND event_id = $2";
