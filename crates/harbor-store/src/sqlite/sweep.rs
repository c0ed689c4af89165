//! Retention: removes what happened too long ago, a little at a time.
//!
//! A walk goes over the tenants, and within each over the events that are older than its history is kept: an
//! event goes with its last delivery, a delivery with its attempts. Dead letters, which are kept for longer, are
//! then found by their own index. What is looked for is read beside the writer; the writer only removes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use harbor_model::delivery::DeadLetterState;
use harbor_model::policy::retention::{Retention, RetentionLayer};
use harbor_model::port::Fault;
use harbor_model::time::{Clock, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::layers::tenant_policy_from_json;
use crate::pages::first_id_at;
use crate::sqlite::SqliteStore;
use crate::sqlite::jobs::{LOOK_MAX, place};
use crate::sqlite::rows::{blob, number, time_if_any, value};
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Weight, Work};

/// How long it rests between two walks.
pub(crate) const REST: Duration = Duration::from_secs(5 * 60);

/// So many events of a tenant may stay behind a walk that the next one looks at them again; where more stay,
/// they are looked at again after [`STAYING_SEEN_AGAIN`].
pub(crate) const STAYING_FEW: usize = 10_000;

/// See [`STAYING_FEW`].
pub(crate) const STAYING_SEEN_AGAIN: Duration = Duration::from_secs(60 * 60);

/// The most rows that one look reads.
const ROWS_READ_MAX: usize = 10_000;

/// The most tenants that one look goes by.
const TENANTS_WALKED_MAX: usize = 1_000;

/// Where the walk goes on.
#[derive(Clone, Default)]
pub(crate) struct SweepWalk(Arc<Mutex<State>>);

impl SweepWalk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }
}

#[derive(Clone, Default)]
struct State {
    /// The last tenant that is done, by its number.
    tenant: i64,
    /// Where the walk is within the next one.
    within: Option<Within>,
    /// When the last walk ended.
    ended_at: Option<Timestamp>,
    /// Tenants with many events that stay.
    staying: HashMap<i64, Staying>,
}

/// Up to where a tenant's events were looked at, of which many stay.
#[derive(Clone, Copy, Debug)]
struct Staying {
    up_to: u128,
    /// When all of them were looked at.
    seen_at: Timestamp,
}

/// A place within a tenant.
#[derive(Clone, Copy, Debug)]
struct Within {
    tenant: i64,
    stage: Stage,
    /// Behind this event or delivery.
    after: u128,
    /// Events that stay so far, where the walk began with the first of all.
    staying: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Events,
    /// Dead letters of one of the states.
    Dead(usize),
}

/// What of a tenant is too old.
#[derive(Clone, Copy, Debug)]
struct Horizon {
    tenant: i64,
    /// What was made before may go.
    history: u128,
    /// What died up to then may go.
    dead_until: Timestamp,
}

impl Horizon {
    fn new(tenant: i64, retention: &Retention, now: Timestamp) -> Self {
        let before =
            |kept: Duration| Timestamp::from_unix_ms(now.unix_ms().saturating_sub_unsigned(ms(kept)).max(0));
        Self {
            tenant,
            history: first_id_at(before(retention.history.value)),
            dead_until: before(retention.dead_letters.value),
        }
    }

    /// Before which id dead letters are looked for: nothing dies before it is made.
    fn dead(&self) -> u128 {
        let died_later = first_id_at(Timestamp::from_unix_ms(self.dead_until.unix_ms() + 1));
        self.history.min(died_later)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Removes what is too old, about `limit` rows.
pub(super) async fn sweep(store: &SqliteStore, now: Timestamp, limit: usize) -> Result<usize, Fault> {
    let walk = store.sweep_walk.clone();
    let state = walk.state().clone();
    if state.within.is_none()
        && state.tenant == 0
        && state.ended_at.is_some_and(|ended_at| now >= ended_at && now < ended_at + REST)
    {
        return Ok(0);
    }
    let (clock, instance) = (store.clock.clone(), store.instance.clone());
    let bytes_max = store.bounds.bytes_max;
    let look = move |conn: &Connection| {
        let bounds = Bounds { rows_max: limit.max(1), bytes_max, clock: &*clock, began: clock.elapsed() };
        Look { conn, now, instance: &instance.policy.retention, bounds, state, found: Found::default() }.go()
    };
    let (found, state) = store.database.browse(look).await?;
    let removed = if found.removals.is_empty() {
        0
    } else {
        let weight = Weight { items: found.removals.len(), bytes: 0 };
        match store.database.write(weight, Sweep { removals: found.removals }).await {
            Ok(removed) => removed,
            Err(fault) => {
                // What was not removed is looked for again.
                *walk.state() = State::default();
                return Err(fault);
            }
        }
    };
    *walk.state() = state;
    Ok(removed)
}

/// How much one look finds.
struct Bounds<'a> {
    rows_max: usize,
    bytes_max: usize,
    clock: &'a dyn Clock,
    began: Duration,
}

/// What is to be removed.
#[derive(Default)]
struct Found {
    removals: Vec<Removal>,
    rows: usize,
    bytes: usize,
    rows_read: usize,
}

impl Found {
    fn is_enough(&self, bounds: &Bounds<'_>) -> bool {
        self.rows >= bounds.rows_max || self.bytes >= bounds.bytes_max
    }

    fn is_over(&self, bounds: &Bounds<'_>) -> bool {
        self.is_enough(bounds)
            || self.rows_read >= ROWS_READ_MAX
            || bounds.clock.elapsed().saturating_sub(bounds.began) > LOOK_MAX
    }
}

#[derive(Clone, Copy, Debug)]
enum Removal {
    /// A delivery with its attempts.
    Delivery { tenant: i64, id: u128 },
    /// An event, if no delivery of it is left.
    Event { tenant: i64, id: u128 },
}

/// One look for what is too old.
struct Look<'a> {
    conn: &'a Connection,
    now: Timestamp,
    instance: &'a RetentionLayer,
    bounds: Bounds<'a>,
    state: State,
    found: Found,
}

impl Look<'_> {
    fn go(mut self) -> Result<(Found, State), Trouble> {
        for _ in 0..TENANTS_WALKED_MAX {
            let Some(horizon) = self.next_tenant()? else {
                self.state.tenant = 0;
                self.state.within = None;
                self.state.ended_at = Some(self.now);
                break;
            };
            if has_replaying_job(self.conn, horizon.tenant)? {
                // It may want what is about to go. The next walk comes by again.
                self.state.within = None;
            } else if !self.walk_tenant(horizon)? {
                break;
            }
            self.state.tenant = horizon.tenant;
        }
        Ok((self.found, self.state))
    }

    fn next_tenant(&self) -> Result<Option<Horizon>, Trouble> {
        let mut query = self.conn.prepare_cached(NEXT_TENANT)?;
        let mut rows = query.query([self.state.tenant])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let policy: String = value(row, 1)?;
        let policy = tenant_policy_from_json(&policy).map_err(|error| Trouble::damaged("policy", error))?;
        let retention = Retention::resolve(self.instance, &policy.retention);
        Ok(Some(Horizon::new(value(row, 0)?, &retention, self.now)))
    }

    /// Walks a tenant on. False where it was not walked to its end.
    fn walk_tenant(&mut self, horizon: Horizon) -> Result<bool, Trouble> {
        let tenant = horizon.tenant;
        let known = self.state.within.take().filter(|within| within.tenant == tenant);
        let mut within = known.unwrap_or_else(|| self.beginning(tenant));
        loop {
            let is_done = match within.stage {
                Stage::Events => self.walk_events(horizon, &mut within)?,
                Stage::Dead(state) => self.walk_dead(horizon, state, &mut within)?,
            };
            if !is_done {
                self.state.within = Some(within);
                return Ok(false);
            }
            let next = match within.stage {
                Stage::Events => {
                    self.note_staying(horizon, within.staying);
                    0
                }
                Stage::Dead(state) => state + 1,
            };
            if next == DeadLetterState::ALL.len() {
                return Ok(true);
            }
            within = Within { stage: Stage::Dead(next), after: 0, ..within };
        }
    }

    fn beginning(&self, tenant: i64) -> Within {
        let staying =
            self.state.staying.get(&tenant).filter(|staying| {
                self.now >= staying.seen_at && self.now < staying.seen_at + STAYING_SEEN_AGAIN
            });
        match staying {
            Some(staying) => Within { tenant, stage: Stage::Events, after: staying.up_to, staying: None },
            None => Within { tenant, stage: Stage::Events, after: 0, staying: Some(0) },
        }
    }

    fn note_staying(&mut self, horizon: Horizon, staying: Option<usize>) {
        // The next walk begins behind the last id that was below the horizon.
        let up_to = horizon.history.saturating_sub(1);
        match staying {
            Some(count) if count >= STAYING_FEW => {
                self.state.staying.insert(horizon.tenant, Staying { up_to, seen_at: self.now });
            }
            Some(_) => {
                self.state.staying.remove(&horizon.tenant);
            }
            None => {
                if let Some(known) = self.state.staying.get_mut(&horizon.tenant) {
                    known.up_to = known.up_to.max(up_to);
                }
            }
        }
    }

    /// Walks events with all that belongs to them. False where it was not done.
    fn walk_events(&mut self, horizon: Horizon, within: &mut Within) -> Result<bool, Trouble> {
        let mut query = self.conn.prepare_cached(OLD_EVENTS)?;
        let mut rows = query.query((horizon.tenant, blob(within.after), blob(horizon.history)))?;
        while let Some(row) = rows.next()? {
            if self.found.is_over(&self.bounds) {
                return Ok(false);
            }
            self.found.rows_read += 1;
            let id = number(row, 0)?;
            match self.look_at_event(horizon, id)? {
                Looked::Goes => {}
                Looked::Stays => within.staying = within.staying.map(|count| count + 1),
                Looked::Unfinished => return Ok(false),
            }
            within.after = id;
        }
        Ok(true)
    }

    fn look_at_event(&mut self, horizon: Horizon, event_id: u128) -> Result<Looked, Trouble> {
        let mut query = self.conn.prepare_cached(OF_EVENT)?;
        let mut rows = query.query((horizon.tenant, blob(event_id)))?;
        let mut is_bare = true;
        while let Some(row) = rows.next()? {
            self.found.rows_read += 1;
            if !self.take_delivery(horizon, row)? {
                is_bare = false;
            } else if self.found.is_enough(&self.bounds) {
                // The next look comes by this event again.
                return Ok(Looked::Unfinished);
            }
        }
        if is_bare {
            self.take_event(horizon, event_id)?;
        }
        Ok(if is_bare { Looked::Goes } else { Looked::Stays })
    }

    /// Walks dead letters, which outlast the rest of their time. False where it was not done.
    fn walk_dead(&mut self, horizon: Horizon, state: usize, within: &mut Within) -> Result<bool, Trouble> {
        let mut query = self.conn.prepare_cached(OLD_DEAD)?;
        let state = DeadLetterState::ALL[state].as_str();
        let mut rows = query.query((horizon.tenant, state, blob(within.after), blob(horizon.dead())))?;
        while let Some(row) = rows.next()? {
            if self.found.is_over(&self.bounds) {
                return Ok(false);
            }
            self.found.rows_read += 1;
            if self.take_delivery(horizon, row)? {
                self.take_event(horizon, number(row, 6)?)?;
            }
            within.after = number(row, 0)?;
        }
        Ok(true)
    }

    /// Takes a delivery that may go. False where it stays.
    fn take_delivery(&mut self, horizon: Horizon, row: &Row<'_>) -> Result<bool, Trouble> {
        let tenant = horizon.tenant;
        let id = number(row, 0)?;
        let is_open: bool = value(row, 1)?;
        if is_open || id >= horizon.history {
            return Ok(false);
        }
        if let Some(dead_at) = time_if_any(row, 2)? {
            let lane_key: Option<String> = value(row, 3)?;
            if dead_at > horizon.dead_until {
                return Ok(false);
            }
            if let Some(key) = lane_key
                && self.conn.prepare_cached(HOLDS_LANE)?.exists((
                    tenant,
                    value::<[u8; 16]>(row, 4)?,
                    key,
                    blob(id),
                ))?
            {
                return Ok(false);
            }
        }
        self.found.rows += 1 + value::<usize>(row, 5)?;
        self.found.removals.push(Removal::Delivery { tenant, id });
        Ok(true)
    }

    fn take_event(&mut self, horizon: Horizon, id: u128) -> Result<(), Trouble> {
        if id >= horizon.history {
            return Ok(());
        }
        let bytes: Option<Option<usize>> = self
            .conn
            .prepare_cached(PAYLOAD_BYTES)?
            .query_row((horizon.tenant, blob(id)), |row| row.get(0))
            .optional()?;
        self.found.rows += 1;
        self.found.bytes += bytes.flatten().unwrap_or(0);
        self.found.removals.push(Removal::Event { tenant: horizon.tenant, id });
        Ok(())
    }
}

/// What became of an event that was looked at.
enum Looked {
    Goes,
    Stays,
    /// More of its deliveries may go than one look takes.
    Unfinished,
}

pub(crate) const NEXT_TENANT: &str = "SELECT number, policy FROM tenants
    WHERE number > ?1 AND deleted_at IS NULL ORDER BY number LIMIT 1";

pub(crate) const REPLAYING: &str = "SELECT 1 FROM jobs INDEXED BY jobs_open_of_tenant
    WHERE tenant = ?1 AND status IN ('pending', 'running') AND kind = 'replay' AND place <> ?2 LIMIT 1";

/// Whether a job of the tenant may still want to replay something.
fn has_replaying_job(conn: &Connection, tenant: i64) -> Result<bool, Trouble> {
    Ok(conn.prepare_cached(REPLAYING)?.exists((tenant, place::END))?)
}

pub(crate) const OLD_EVENTS: &str = "SELECT id FROM events
    WHERE tenant = ?1 AND id > ?2 AND id < ?3 ORDER BY id";

pub(crate) const OF_EVENT: &str =
    "SELECT id, due_at IS NOT NULL, dead_at, lane_key, endpoint_id, attempt_count
    FROM deliveries INDEXED BY deliveries_by_event WHERE tenant = ?1 AND event_id = ?2";

pub(crate) const OLD_DEAD: &str =
    "SELECT id, due_at IS NOT NULL, dead_at, lane_key, endpoint_id, attempt_count, event_id
    FROM deliveries INDEXED BY deliveries_dead
    WHERE tenant = ?1 AND dlq_state = ?2 AND id > ?3 AND id < ?4 ORDER BY id";

pub(crate) const HOLDS_LANE: &str = "SELECT 1 FROM lanes
    WHERE tenant = ?1 AND endpoint_id = ?2 AND lane_key = ?3 AND head_id = ?4";

pub(crate) const PAYLOAD_BYTES: &str = "SELECT length(payload) FROM events WHERE tenant = ?1 AND id = ?2";

pub(crate) const REMOVE_ATTEMPTS: &str = "DELETE FROM attempts WHERE tenant = ?1 AND delivery_id = ?2";

pub(crate) const REMOVE_DELIVERY: &str =
    "DELETE FROM deliveries WHERE tenant = ?1 AND id = ?2 AND due_at IS NULL";

pub(crate) const REMOVE_EVENT: &str = "DELETE FROM events WHERE tenant = ?1 AND id = ?2 AND NOT EXISTS (
        SELECT 1 FROM deliveries INDEXED BY deliveries_by_event WHERE tenant = ?1 AND event_id = ?2)";

/// Removes what was found.
struct Sweep {
    removals: Vec<Removal>,
}

impl Work for Sweep {
    type Answer = usize;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<usize, Trouble> {
        let mut removed = 0;
        for removal in &self.removals {
            removed += remove(tx.conn, *removal)?;
        }
        Ok(removed)
    }
}

fn remove(conn: &Connection, removal: Removal) -> Result<usize, Trouble> {
    match removal {
        Removal::Delivery { tenant, id } => {
            let deliveries = conn.prepare_cached(REMOVE_DELIVERY)?.execute((tenant, blob(id)))?;
            if deliveries == 0 {
                return Ok(0);
            }
            Ok(deliveries + conn.prepare_cached(REMOVE_ATTEMPTS)?.execute((tenant, blob(id)))?)
        }
        Removal::Event { tenant, id } => {
            Ok(conn.prepare_cached(REMOVE_EVENT)?.execute((tenant, blob(id)))?)
        }
    }
}
