//! Removes what is past its retention, of tenants that keep less than those who keep the most.
//!
//! What nobody keeps goes week by week (`weeks.rs`). Of the others, and of what was left of such weeks, a walk
//! goes through each tenant's final deliveries and then its events, by their ids, a little at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harbor_model::port::Fault;
use harbor_model::time::Timestamp;
use tokio_postgres::Row;

use crate::pages::first_id_at;
use crate::postgres::database::{Tx, retried};
use crate::postgres::retention::{Floor, Floors};
use crate::postgres::rows::{bigint, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;
use crate::postgres::{PostgresStore, weeks};

/// The least time between two walks.
const BETWEEN_WALKS: Duration = Duration::from_secs(3 * 60);

/// How many looks one call takes at most: most of what they find may have to stay.
const LOOKS_MAX: usize = 20;

/// Where the walk goes on.
#[derive(Default)]
pub(crate) struct SweepWalk(Mutex<State>);

#[derive(Default)]
struct State {
    /// The tenants that are still to be walked through, each until some time of making; the next one last.
    ahead: Vec<(Floor, Timestamp)>,
    place: Place,
    /// When the last walk came to its end.
    ended_at: Option<Timestamp>,
}

/// A place in what one tenant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind this final delivery.
    Deliveries(u128),
    /// Behind this event.
    Events(u128),
}

impl Default for Place {
    fn default() -> Self {
        Self::Deliveries(0)
    }
}

impl SweepWalk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresStore {
    /// Removes up to about `limit` rows.
    pub(crate) async fn sweep_history(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        if !self.begin_walk(now).await? {
            return Ok(0);
        }
        let mut count = 0;
        for _ in 0..LOOKS_MAX {
            let (ahead, place) = {
                let state = self.sweep_walk.state();
                let Some(ahead) = state.ahead.last() else { break };
                (*ahead, state.place)
            };
            let swept = retried("remove what is past its retention", async || {
                let tx = self.database.begin().await?;
                let swept = sweep(&tx, ahead, place, limit - count).await?;
                tx.commit().await?;
                Ok(swept)
            })
            .await?;
            count += swept.count;
            self.sweep_walk.state().go_on(swept.next, now);
            if count >= limit {
                break;
            }
        }
        Ok(count)
    }

    /// Lays out a new walk where the last one ended a while ago; answers whether one is under way.
    async fn begin_walk(&self, now: Timestamp) -> Result<bool, Fault> {
        {
            let state = self.sweep_walk.state();
            if !state.ahead.is_empty() {
                return Ok(true);
            }
            if state.ended_at.is_some_and(|ended_at| now.since(ended_at) < BETWEEN_WALKS) {
                return Ok(false);
            }
        }
        let (floors, kept_until) = retried("read retention", async || {
            let link = self.database.browse().await?;
            let floors = Floors::load(&link, &self.instance.policy.retention, now).await?;
            let kept_until = weeks::kept_until(&link, floors.lowest).await?;
            Ok((floors, kept_until))
        })
        .await?;
        // What of those who keep the most is past its time goes with its week; of them, only what was left
        // of such weeks is looked through.
        let until = |floor: &Floor| match kept_until {
            _ if floor.is_wanted => None,
            _ if floor.history > floors.lowest => Some(floor.history),
            kept_until => kept_until,
        };
        let mut ahead: Vec<_> =
            floors.tenants.iter().filter_map(|floor| Some((*floor, until(floor)?))).collect();
        ahead.reverse();
        let mut state = self.sweep_walk.state();
        *state = State { ended_at: Some(now), place: Place::default(), ahead };
        Ok(!state.ahead.is_empty())
    }
}

impl State {
    fn go_on(&mut self, next: Option<Place>, now: Timestamp) {
        match next {
            Some(place) => self.place = place,
            None => {
                self.ahead.pop();
                self.place = Place::default();
                self.ended_at = Some(now);
            }
        }
    }
}

struct Swept {
    count: usize,
    /// Where it goes on; none where the tenant is done.
    next: Option<Place>,
}

async fn sweep(
    tx: &Tx,
    (floor, until): (Floor, Timestamp),
    place: Place,
    limit: usize,
) -> Result<Swept, Trouble> {
    let end = Uuid(first_id_at(until));
    match place {
        Place::Deliveries(behind) => sweep_deliveries(tx, floor, behind, end, limit).await,
        Place::Events(behind) => sweep_events(tx, floor, behind, end, limit).await,
    }
}

/// Final deliveries of a stretch, and whether each is kept: a dead letter within its time, and the head that
/// holds its lane.
pub(crate) const FIND_DELIVERIES: &str = "SELECT d.id,
        coalesce(d.dead_at > $5, false) AND d.dlq_state IS NOT NULL
        OR d.lane_key IS NOT NULL AND (
            SELECT true FROM lanes AS l
            WHERE l.tenant = d.tenant AND l.endpoint_id = d.endpoint_id AND l.lane_key = d.lane_key
              AND l.head_id = d.id) IS NOT NULL
    FROM deliveries_done AS d
    WHERE d.tenant = $1 AND d.id > $2 AND d.id < $3 ORDER BY d.id LIMIT $4";

pub(crate) const REMOVE_ATTEMPTS: &str = "DELETE FROM attempts WHERE tenant = $1 AND delivery_id = ANY($2)";

pub(crate) const REMOVE_DELIVERIES: &str = "DELETE FROM deliveries_done WHERE tenant = $1 AND id = ANY($2)";

/// The ids of those rows that say that theirs is not kept.
fn past_of(rows: &[Row]) -> Result<Vec<Uuid>, Trouble> {
    let mut past = Vec::new();
    for row in rows {
        if !value::<bool>(row, 1)? {
            past.push(value(row, 0)?);
        }
    }
    Ok(past)
}

async fn sweep_deliveries(
    tx: &Tx,
    floor: Floor,
    behind: u128,
    end: Uuid,
    limit: usize,
) -> Result<Swept, Trouble> {
    let dead = floor.dead.unix_ms();
    let rows =
        tx.query(FIND_DELIVERIES, &[&floor.tenant, &Uuid(behind), &end, &bigint(limit), &dead]).await?;
    let past = past_of(&rows)?;
    let mut count = 0;
    if !past.is_empty() {
        count += tx.execute(REMOVE_ATTEMPTS, &[&floor.tenant, &past]).await?;
        count += tx.execute(REMOVE_DELIVERIES, &[&floor.tenant, &past]).await?;
    }
    let last = rows.last().filter(|_| rows.len() == limit);
    let next = match last {
        Some(row) => Place::Deliveries(value::<Uuid>(row, 0)?.0),
        None => Place::Events(0),
    };
    Ok(Swept { count: usize::try_from(count).unwrap_or(usize::MAX), next: Some(next) })
}

/// Whether the event `e` has a delivery left.
macro_rules! has_delivery {
    () => {
        "((SELECT true FROM open_deliveries AS o
           WHERE o.tenant = e.tenant AND o.event_id = e.id LIMIT 1) IS NOT NULL
          OR (SELECT true FROM deliveries_done AS d
              WHERE d.tenant = e.tenant AND d.event_id = e.id LIMIT 1) IS NOT NULL)"
    };
}

/// Events of a stretch, and whether each is kept.
pub(crate) const FIND_EVENTS: &str = concat!(
    "SELECT e.id, ",
    has_delivery!(),
    " FROM events AS e WHERE e.tenant = $1 AND e.id > $2 AND e.id < $3 ORDER BY e.id LIMIT $4"
);

/// Keeps everybody from making replays of them.
pub(crate) const LOCK_EVENTS: &str = "SELECT e.id FROM unnest($2::uuid[]) AS asked (id),
    LATERAL (
        SELECT events.id FROM events WHERE events.tenant = $1 AND events.id = asked.id
        OFFSET 0 FOR UPDATE SKIP LOCKED) AS e";

/// By a statement of its own: a replay that was made until the lock came is seen.
pub(crate) const REMOVE_EVENTS: &str =
    concat!("DELETE FROM events AS e WHERE e.tenant = $1 AND e.id = ANY($2) AND NOT ", has_delivery!());

async fn sweep_events(
    tx: &Tx,
    floor: Floor,
    behind: u128,
    end: Uuid,
    limit: usize,
) -> Result<Swept, Trouble> {
    let rows = tx.query(FIND_EVENTS, &[&floor.tenant, &Uuid(behind), &end, &bigint(limit)]).await?;
    let past = past_of(&rows)?;
    let mut count = 0;
    if !past.is_empty() {
        let locked = tx.query(LOCK_EVENTS, &[&floor.tenant, &past]).await?;
        let locked = locked.iter().map(|row| value(row, 0)).collect::<Result<Vec<Uuid>, _>>()?;
        count = tx.execute(REMOVE_EVENTS, &[&floor.tenant, &locked]).await?;
    }
    let last = rows.last().filter(|_| rows.len() == limit);
    let next = last.map(|row| Ok::<_, Trouble>(Place::Events(value::<Uuid>(row, 0)?.0))).transpose()?;
    Ok(Swept { count: usize::try_from(count).unwrap_or(usize::MAX), next })
}
