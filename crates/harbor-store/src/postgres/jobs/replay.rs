//! Replays of a whole batch, in a handful of statements.

use std::collections::{HashMap, HashSet};

use harbor_model::delivery::{DeadLetterState, DeliveryStatus};
use harbor_model::directory::TenantSnapshot;
use harbor_model::id::{DeliveryId, EndpointId};
use harbor_model::job::{Job, ReplayTask, Selection};
use harbor_model::lane::{LaneKey, lane_of};
use harbor_model::time::Timestamp;
use tokio_postgres::Row;

use crate::postgres::database::Tx;
use crate::postgres::jobs::Step;
use crate::postgres::jobs::candidates::{self, Place, ROWS_READ_MAX, no_replay};
use crate::postgres::lanes::{self, Joiner, LaneAt};
use crate::postgres::rows::{number, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// A batch of replays that is being made.
pub(super) struct Batch<'a> {
    pub(super) tx: &'a Tx,
    pub(super) tenant: i64,
    pub(super) job: &'a Job,
    pub(super) task: &'a ReplayTask,
    /// Tells which endpoints are ordered.
    pub(super) directory: Option<&'a TenantSnapshot>,
    pub(super) now: Timestamp,
}

/// A delivery that is final and can be replayed.
struct Original {
    id: Uuid,
    event: Uuid,
    endpoint: Uuid,
    event_type: String,
    payload_bytes: i64,
    ordering_key: Option<String>,
}

impl Batch<'_> {
    /// Replays what comes next, at most one for each id.
    pub(super) async fn run(&self, ids: &[DeliveryId]) -> Result<Step, Trouble> {
        let selection = &self.task.selection;
        let walked =
            candidates::walk(self.tx, self.tenant, self.job, selection, ids.len(), ROWS_READ_MAX).await?;
        let looked = self.look(&walked.found).await?;
        self.make(&looked.originals, ids).await?;

        let mut next = self.job.clone();
        let counts = &mut next.counts;
        counts.queued += looked.originals.len() as u64;
        counts.failed += looked.failed_count;
        let is_end = walked.place == Place::End;
        let seen = counts.queued + counts.failed;
        counts.matched = if is_end { seen } else { counts.matched.max(seen) };
        next.place = walked.place.to_bytes();
        Ok(Step { job: next, count: looked.originals.len() + to_usize(looked.failed_count), is_end })
    }

    /// Locks these, and reads what their replays need.
    async fn look(&self, found: &[DeliveryId]) -> Result<Looked, Trouble> {
        let mut ids: Vec<Uuid> = found.iter().map(|id| Uuid(id.number())).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut looked = Looked { originals: Vec::new(), failed_count: 0 };
        if ids.is_empty() {
            return Ok(looked);
        }
        // By a statement of its own: what it waited for is seen by the next.
        self.tx.query(LOCK_ORIGINALS, &[&self.tenant, &ids]).await?;
        let mut known: HashMap<u128, Row> = HashMap::new();
        for row in self.tx.query(LOOK, &[&self.tenant, &ids]).await? {
            known.insert(number(&row, 0)?, row);
        }
        let is_named = matches!(self.task.selection, Selection::Ids(_));
        let mut taken = HashSet::new();
        for id in found {
            let row = known.get(&id.number()).filter(|_| taken.insert(*id));
            let is_free = match row {
                Some(row) => is_free(row, &self.task.selection)?,
                None => false,
            };
            match row.filter(|_| is_free).map(original).transpose()?.flatten() {
                Some(original) => looked.originals.push(original),
                // What somebody replayed or removed since it was found does not match any more.
                None if is_free || is_named => looked.failed_count += 1,
                None => {}
            }
        }
        Ok(looked)
    }

    async fn make(&self, originals: &[Original], ids: &[DeliveryId]) -> Result<(), Trouble> {
        if originals.is_empty() {
            return Ok(());
        }
        let new: Vec<Uuid> = ids.iter().take(originals.len()).map(|id| Uuid(id.number())).collect();
        assert_eq!(new.len(), originals.len(), "no more was looked for than there are ids");
        let lanes: Vec<Option<LaneKey>> = originals.iter().map(|original| self.lane_of(original)).collect();
        let joiners: Vec<Joiner> = originals
            .iter()
            .zip(&lanes)
            .zip(&new)
            .filter_map(|((original, lane), id)| {
                let key = lane.as_ref()?.as_str().to_owned();
                let lane = LaneAt { tenant: self.tenant, endpoint: original.endpoint, key };
                Some(Joiner { lane, id: *id })
            })
            .collect();
        let mut places = lanes::join(self.tx, &joiners).await?.into_iter();

        let now = self.now.unix_ms();
        let mut due: Vec<Option<i64>> = Vec::with_capacity(new.len());
        let mut numbers: Vec<Option<i64>> = Vec::with_capacity(new.len());
        for lane in &lanes {
            let place = lane.is_some().then(|| places.next().expect("each that joins has a place"));
            due.push(place.is_none_or(|place| place.is_head).then_some(now));
            numbers.push(place.map(|place| place.number));
        }
        let of: Vec<Uuid> = originals.iter().map(|original| original.id).collect();
        let events: Vec<Uuid> = originals.iter().map(|original| original.event).collect();
        let endpoints: Vec<Uuid> = originals.iter().map(|original| original.endpoint).collect();
        let types: Vec<&str> = originals.iter().map(|original| original.event_type.as_str()).collect();
        let sizes: Vec<i64> = originals.iter().map(|original| original.payload_bytes).collect();
        let keys: Vec<Option<&str>> =
            lanes.iter().map(|lane| lane.as_ref().map(|lane| lane.as_str())).collect();
        let made_by = Uuid(self.job.id.number());
        self.tx
            .execute(
                INSERT,
                &[
                    &self.tenant,
                    &new,
                    &events,
                    &endpoints,
                    &types,
                    &sizes,
                    &due,
                    &of,
                    &keys,
                    &numbers,
                    &DeliveryStatus::Queued.as_str(),
                    &now,
                    &self.task.new_webhook_id,
                    &self.task.reason,
                    &made_by,
                ],
            )
            .await?;
        let replayed = DeadLetterState::Replayed.as_str();
        self.tx.execute(MARK_REPLAYED, &[&self.tenant, &of, &new, &replayed, &now]).await?;
        Ok(())
    }

    /// The ordered lane that a replay joins, by what is in force now.
    fn lane_of(&self, original: &Original) -> Option<LaneKey> {
        let view = self.directory?.endpoints.get(&EndpointId::from_number(original.endpoint.0))?;
        lane_of(view.policy.ordering.value, original.ordering_key.as_deref())
    }
}

/// What a look at candidates found.
struct Looked {
    originals: Vec<Original>,
    failed_count: u64,
}

pub(crate) const LOCK_ORIGINALS: &str = "SELECT d.id FROM unnest($2::uuid[]) AS asked (id),
    LATERAL (
        SELECT o.id FROM deliveries_done AS o WHERE o.tenant = $1 AND o.id = asked.id
        OFFSET 0 FOR NO KEY UPDATE) AS d";

/// Reads what replays need. The event is kept from being removed until the end of the transaction.
pub(crate) const LOOK: &str = concat!(
    "SELECT d.id, d.event_id, d.endpoint_id, d.event_type, d.dlq_state, d.is_unreplayed, e.payload_bytes,
            e.ordering_key,
            (SELECT true FROM endpoints AS p
             WHERE p.tenant = $1 AND p.id = d.endpoint_id AND p.disabled IS NULL AND p.deleted_at IS NULL)
            IS NOT NULL
    FROM unnest($2::uuid[]) AS asked (id),
    LATERAL (
        SELECT d.id, d.event_id, d.endpoint_id, d.event_type, d.dlq_state, ",
    no_replay!(),
    " AS is_unreplayed
        FROM deliveries_done AS d WHERE d.tenant = $1 AND d.id = asked.id OFFSET 0) AS d
    LEFT JOIN LATERAL (
        SELECT octet_length(events.payload) AS payload_bytes, events.ordering_key FROM events
        WHERE events.tenant = $1 AND events.id = d.event_id OFFSET 0 FOR KEY SHARE) AS e ON true"
);

/// Whether nobody replayed it, and a dead letter that is asked for as such is still open.
fn is_free(row: &Row, selection: &Selection) -> Result<bool, Trouble> {
    let is_unreplayed: bool = value(row, 5)?;
    let state: Option<&str> = value(row, 4)?;
    Ok(match selection {
        Selection::DeadLetters { .. } => state == Some(DeadLetterState::Open.as_str()) && is_unreplayed,
        Selection::Ids(_) | Selection::Filter(_) => is_unreplayed,
    })
}

/// What can be replayed; none where the payload is no longer kept, or the endpoint takes nothing.
fn original(row: &Row) -> Result<Option<Original>, Trouble> {
    let payload_bytes: Option<i32> = value(row, 6)?;
    let takes_events: bool = value(row, 8)?;
    let Some(payload_bytes) = payload_bytes.filter(|_| takes_events) else { return Ok(None) };
    Ok(Some(Original {
        id: value(row, 0)?,
        event: value(row, 1)?,
        endpoint: value(row, 2)?,
        event_type: value(row, 3)?,
        payload_bytes: i64::from(payload_bytes),
        ordering_key: value(row, 7)?,
    }))
}

pub(crate) const INSERT: &str = "INSERT INTO open_deliveries (
        tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
        interrupted_count, due_at, updated_at, replay_of, new_webhook_id, replay_reason, lane_key, lane_number,
        replay_job)
    SELECT $1, id, event_id, endpoint_id, event_type, payload_bytes, $11, 0, 0, due_at, $12, replay_of, $13, $14,
           lane_key, lane_number, $15
    FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::bigint[], $8::uuid[], $9::text[],
                $10::bigint[])
         AS r (id, event_id, endpoint_id, event_type, payload_bytes, due_at, replay_of, lane_key, lane_number)";

/// A dead letter that is replayed is no longer open, whatever becomes of its replay.
pub(crate) const MARK_REPLAYED: &str = "UPDATE deliveries_done AS d
    SET dlq_state = $4, replayed_by = ($3::uuid[])[array_position($2::uuid[], d.id)], updated_at = $5
    WHERE d.tenant = $1 AND d.id = ANY($2) AND d.dlq_state IS NOT NULL";

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
