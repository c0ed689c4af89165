//! Replaces weeks that are past everybody's history by what of them is still needed.
//!
//! What is needed is copied into a small table while everything goes on; a trigger on the old one notes
//! which rows change meanwhile. Then one short transaction copies those anew, and lets the copy take the week's
//! place. A week of which nothing is needed is dropped.
//!
//! Deliveries go first, then the attempts of those that were kept, then the events that some delivery is still
//! owed or was made of.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harbor_model::policy::retention::RetentionLayer;
use harbor_model::port::Fault;
use harbor_model::time::Timestamp;
use tokio::time::sleep;

use crate::pages::first_id_at;
use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, retried};
use crate::postgres::partitions::{WEEK, week_of};
use crate::postgres::retention::{Floor, Floors};
use crate::postgres::rows::{time, time_if_any, value};
use crate::postgres::trouble::Trouble;

/// The least time between two looks for old weeks, where the last one found none.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10 * 60);

/// After so long a week that was replaced is replaced again: less of it may be needed by then.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many tables are replaced at a time.
const TABLES_AT_ONCE_MAX: usize = 6;

/// How long everybody may wait for a replacement that waits for somebody.
const LOCK_TIME_MAX: Duration = Duration::from_millis(100);

/// How long everybody may wait for a replacement that has begun. One that takes longer is given up.
const SWAP_TIME_MAX: Duration = Duration::from_secs(2);

/// How often a replacement is tried, before it is left to the next round, and the wait between.
const SWAPS_MAX: u32 = 10;
const BETWEEN_SWAPS: Duration = Duration::from_millis(200);

/// How long copying may take.
const COPY_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// What was made longer ago than this was there when the copy was looked through: clocks differ by less.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(10 * 60);

/// Keeps processes that would do this at once out of each other's way; `weeks` in ASCII.
const LOCK: i64 = 0x77_6565_6b73;

/// When there is something to do.
#[derive(Default)]
pub(crate) struct WeekWatch(Mutex<Option<Timestamp>>);

impl WeekWatch {
    /// When old weeks were last looked for and none was found.
    fn idle_since(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tables of weeks, in the order in which they are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    Deliveries,
    Attempts,
    Events,
}

impl Parent {
    const ALL: [Self; 3] = [Self::Deliveries, Self::Attempts, Self::Events];

    fn name(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries_done",
            Self::Attempts => "attempts",
            Self::Events => "events",
        }
    }

    /// The column that names the week.
    fn id(self) -> &'static str {
        match self {
            Self::Deliveries | Self::Events => "id",
            Self::Attempts => "delivery_id",
        }
    }
}

/// A table of a week that is past everybody's history.
#[derive(Clone, Debug)]
struct OldWeek {
    parent: Parent,
    /// The name of its table.
    name: String,
    start: Timestamp,
}

impl PostgresStore {
    /// Replaces the next of the weeks that are past everybody's history, if there are any.
    pub(crate) async fn replace_old_weeks(&self, now: Timestamp) -> Result<(), Fault> {
        let idle_since = *self.week_watch.idle_since();
        if idle_since.is_some_and(|since| now.since(since) < BETWEEN_LOOKS) {
            return Ok(());
        }
        let look = retried("replace an old week", async || {
            let link = self.database.browse().await?;
            let locked = link.query_opt("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?;
            if !value::<bool>(&locked.expect("a function answers with one row"), 0)? {
                return Ok(Look::Hindered);
            }
            let mut look = Ok(Look::Replaced);
            for _ in 0..TABLES_AT_ONCE_MAX {
                look = replace_next(&link, &self.instance.policy.retention, now).await;
                if !matches!(look, Ok(Look::Replaced)) {
                    break;
                }
            }
            link.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
            look
        })
        .await?;
        *self.week_watch.idle_since() = (look == Look::Idle).then_some(now);
        Ok(())
    }
}

/// What a look for old weeks came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// There was none.
    Idle,
    /// A table was replaced. There may be more.
    Replaced,
    /// Others were in the way.
    Hindered,
}

/// Replaces one table, if there is one to be replaced.
async fn replace_next(link: &Link, instance: &RetentionLayer, now: Timestamp) -> Result<Look, Trouble> {
    let floors = Floors::load(link, instance, now).await?;
    let Some(week) = find_next(link, floors.lowest, now).await? else { return Ok(Look::Idle) };
    let replacement = Replacement::new(week, &floors, now);
    let name = &replacement.week.name;
    if !replacement.run(link).await? {
        tracing::debug!(table = name, "{name} cannot be replaced while it is in use, and is tried again");
        return Ok(Look::Hindered);
    }
    tracing::info!(table = name, "{name} is past its retention: what is not needed of it is gone");
    Ok(Look::Replaced)
}

/// The tables of weeks of one parent, and when each was replaced.
const WEEKS: &str = "SELECT c.relname::text,
        (extract(epoch FROM to_date(right(c.relname::text, 8), 'YYYYMMDD')) * 1000)::bigint, k.kept_at
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    LEFT JOIN kept_weeks AS k ON k.name = c.relname::text
    WHERE i.inhparent = to_regclass('harborhook.' || $1::text)";

/// Until when weeks are replaced: of what was made before, little is left. None where no week was.
pub(crate) async fn kept_until(link: &Link, lowest: Timestamp) -> Result<Option<Timestamp>, Trouble> {
    let mut until = week_of(lowest);
    let mut has_kept = false;
    for parent in Parent::ALL {
        for row in link.query(WEEKS, &[&parent.name()]).await? {
            let (start, kept_at) = (time(&row, 1)?, time_if_any(&row, 2)?);
            has_kept |= kept_at.is_some();
            if kept_at.is_none() {
                until = until.min(start);
            }
        }
    }
    Ok(has_kept.then_some(until))
}

/// Whether a week is being copied, or its copy was left behind: then it is gone after the next round.
pub(crate) async fn is_copying(link: &Link) -> Result<bool, Trouble> {
    let row = link.query_opt(COPIES, &[]).await?;
    value(&row.expect("an expression has one value"), 0)
}

pub(crate) const COPIES: &str = "SELECT EXISTS (
    SELECT 1 FROM pg_class
    WHERE relnamespace = to_regnamespace('harborhook') AND relkind = 'r' AND right(relname::text, 5) = '_kept')";

/// The oldest week before `lowest` that was not replaced lately, at the first of its tables.
async fn find_next(link: &Link, lowest: Timestamp, now: Timestamp) -> Result<Option<OldWeek>, Trouble> {
    let mut next: Option<OldWeek> = None;
    for parent in Parent::ALL {
        for row in link.query(WEEKS, &[&parent.name()]).await? {
            let (name, start) = (value(&row, 0)?, time(&row, 1)?);
            let kept_at = time_if_any(&row, 2)?;
            let is_old = start + WEEK <= lowest;
            let is_due = kept_at.is_none_or(|kept_at| now.since(kept_at) >= BETWEEN_REPLACEMENTS);
            if is_old && is_due && next.as_ref().is_none_or(|next| start < next.start) {
                next = Some(OldWeek { parent, name, start });
            }
        }
    }
    Ok(next)
}

/// How one table is replaced.
struct Replacement {
    week: OldWeek,
    /// The name of the table that takes its place.
    kept: String,
    /// The ids of the week, as texts: from the first, to the second which lies outside.
    first: String,
    end: String,
    /// What is kept of whom, as rows `(tenant, history, dead)`.
    floors: String,
    now: Timestamp,
}

/// An id as SQL writes it.
fn uuid(number: u128) -> String {
    format!("'{number:032x}'::uuid")
}

// Each is looked for by a subquery that is never hashed: hashed, it would go through everything.

/// What is needed of a final delivery `o` by itself, with what is kept of its tenant as `t`.
const IS_DELIVERY_NEEDED: &str = "(o.id >= t.history
     OR o.dlq_state IS NOT NULL AND o.dead_at > t.dead
     OR o.lane_key IS NOT NULL AND (
         SELECT true FROM lanes AS l WHERE l.tenant = o.tenant AND l.endpoint_id = o.endpoint_id
             AND l.lane_key = o.lane_key AND l.head_id = o.id LIMIT 1) IS NOT NULL)";

/// Whether the delivery of an attempt `o` is open or kept.
const IS_ATTEMPT_NEEDED: &str = "(
    (SELECT true FROM deliveries_done AS d
     WHERE d.tenant = o.tenant AND d.id = o.delivery_id LIMIT 1) IS NOT NULL
    OR (SELECT true FROM open_deliveries AS d
        WHERE d.tenant = o.tenant AND d.id = o.delivery_id LIMIT 1) IS NOT NULL)";

/// Whether an event `o` is history, or has a delivery left.
const IS_EVENT_NEEDED: &str = "(o.id >= t.history
    OR (SELECT true FROM open_deliveries AS d
        WHERE d.tenant = o.tenant AND d.event_id = o.id LIMIT 1) IS NOT NULL
    OR (SELECT true FROM deliveries_done AS d
        WHERE d.tenant = o.tenant AND d.event_id = o.id LIMIT 1) IS NOT NULL)";

impl Replacement {
    fn new(week: OldWeek, floors: &Floors, now: Timestamp) -> Self {
        let list =
            |of: &dyn Fn(&Floor) -> String| floors.tenants.iter().map(of).collect::<Vec<_>>().join(",");
        let tenants = list(&|floor| floor.tenant.to_string());
        let history = list(&|floor| format!("{:032x}", first_id_at(floor.history)));
        let dead = list(&|floor| floor.dead.unix_ms().to_string());
        let floors =
            format!("unnest('{{{tenants}}}'::bigint[], '{{{history}}}'::uuid[], '{{{dead}}}'::bigint[])");
        Self {
            kept: format!("{}_kept", week.name),
            first: uuid(first_id_at(week.start)),
            end: uuid(first_id_at(week.start + WEEK)),
            week,
            floors,
            now,
        }
    }

    /// Answers false where others were in the way for too long; then all begins anew.
    async fn run(&self, link: &Link) -> Result<bool, Trouble> {
        if !self.prepare(link).await? {
            return Ok(false);
        }
        if self.copy_and_swap(link).await? {
            return Ok(true);
        }
        // Nothing is to be found in it that was removed from the week since.
        match link.batch_at_leisure(&format!("DROP TABLE {}", self.kept), COPY_TIME_MAX).await {
            Err(trouble) if !trouble.is_given_up() => Err(trouble),
            _ => Ok(false),
        }
    }

    async fn copy_and_swap(&self, link: &Link) -> Result<bool, Trouble> {
        for copy in self.copies() {
            link.batch_at_leisure(&copy, COPY_TIME_MAX).await?;
        }
        let constrain = format!(
            "ALTER TABLE {kept} ADD CONSTRAINT {kept}_week CHECK ({id} >= {first} AND {id} < {end})",
            kept = self.kept,
            id = self.week.parent.id(),
            first = self.first,
            end = self.end
        );
        link.batch_at_leisure(&constrain, COPY_TIME_MAX).await?;
        for _ in 0..SWAPS_MAX {
            // What changed until now need not be copied while everybody waits.
            let catch_up = format!("BEGIN; {}; COMMIT", self.changes());
            link.batch_at_leisure(&catch_up, COPY_TIME_MAX).await?;
            match self.swap(link).await {
                Ok(()) => return Ok(true),
                Err(trouble) if trouble.is_given_up() => {
                    link.batch("ROLLBACK").await?;
                    sleep(BETWEEN_SWAPS).await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(false)
    }

    /// Makes the table to copy into, and has the changes of the old one noted from now on.
    async fn prepare(&self, link: &Link) -> Result<bool, Trouble> {
        let Self { week, kept, .. } = self;
        let (name, parent, id) = (&week.name, week.parent.name(), week.parent.id());
        // Whoever vacuums it holds it for long; it is to go anyway.
        let leave_alone =
            format!("SET lock_timeout = '5s'; ALTER TABLE {name} SET (autovacuum_enabled = false)");
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = {};
             DROP TRIGGER IF EXISTS note_week_change ON {name};
             CREATE TRIGGER note_week_change AFTER INSERT OR UPDATE OR DELETE ON {name}
                 FOR EACH ROW EXECUTE FUNCTION note_week_change('{id}');
             DROP TABLE IF EXISTS {kept};
             CREATE TABLE {kept} (LIKE {parent} INCLUDING ALL);
             DELETE FROM week_changes WHERE name = '{name}';
             COMMIT",
            LOCK_TIME_MAX.as_millis()
        );
        for step in [leave_alone, begin] {
            match link.batch_at_leisure(&step, COPY_TIME_MAX).await {
                Ok(()) => {}
                Err(trouble) if trouble.is_given_up() => {
                    link.batch("ROLLBACK").await?;
                    return Ok(false);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(true)
    }

    /// Copies what is needed; each part by an index, since most of a week is not.
    fn copies(&self) -> Vec<String> {
        let Self { week, kept, first, end, floors, .. } = self;
        let (name, id) = (&week.name, week.parent.id());
        let history = format!(
            "INSERT INTO {kept} SELECT o.* FROM {floors} AS t (tenant, history, dead),
             LATERAL (SELECT * FROM {name} AS w WHERE w.tenant = t.tenant AND w.{id} >= t.history OFFSET 0) AS o
             WHERE t.history < {end} ON CONFLICT DO NOTHING"
        );
        let of_deliveries = |table: &str| {
            format!(
                "INSERT INTO {kept} SELECT o.* FROM {floors} AS t (tenant, history, dead),
                 LATERAL (
                     SELECT d.id FROM {table} AS d
                     WHERE d.tenant = t.tenant AND d.id >= {first} AND d.id < {end} OFFSET 0) AS d,
                 LATERAL (
                     SELECT * FROM {name} AS w WHERE w.tenant = t.tenant AND w.delivery_id = d.id OFFSET 0) AS o
                 ON CONFLICT DO NOTHING"
            )
        };
        match week.parent {
            Parent::Deliveries => vec![
                history,
                format!(
                    "INSERT INTO {kept} SELECT o.* FROM {floors} AS t (tenant, history, dead),
                     LATERAL (
                         SELECT * FROM {name} AS w
                         WHERE w.tenant = t.tenant AND w.dlq_state IS NOT NULL AND w.dead_at > t.dead
                         OFFSET 0) AS o
                     ON CONFLICT DO NOTHING"
                ),
                format!(
                    "INSERT INTO {kept} SELECT o.* FROM lanes AS l,
                     LATERAL (
                         SELECT * FROM {name} AS w WHERE w.tenant = l.tenant AND w.id = l.head_id OFFSET 0) AS o
                     WHERE l.head_id >= {first} AND l.head_id < {end} ON CONFLICT DO NOTHING"
                ),
            ],
            Parent::Attempts => vec![of_deliveries("deliveries_done"), of_deliveries("open_deliveries")],
            Parent::Events => {
                let zero = uuid(0);
                vec![
                    history,
                    self.copy_events_of("open_deliveries", &zero),
                    self.copy_events_of("deliveries_done", &zero),
                ]
            }
        }
    }

    /// Copies the events of the week that deliveries with ids from `since` on were made of.
    fn copy_events_of(&self, table: &str, since: &str) -> String {
        let Self { week, kept, first, end, floors, .. } = self;
        format!(
            "INSERT INTO {kept} SELECT o.* FROM {floors} AS t (tenant, history, dead),
             LATERAL (
                 SELECT DISTINCT d.event_id FROM {table} AS d
                 WHERE d.tenant = t.tenant AND d.event_id >= {first} AND d.event_id < {end} AND d.id >= {since}
                 OFFSET 0) AS d,
             LATERAL (SELECT * FROM {name} AS w WHERE w.tenant = t.tenant AND w.id = d.event_id OFFSET 0) AS o
             ON CONFLICT DO NOTHING",
            name = week.name
        )
    }

    /// Copies anew what has changed since it was copied, and what is needed since.
    fn changes(&self) -> String {
        let Self { week, kept, floors, .. } = self;
        let (name, id) = (&week.name, week.parent.id());
        let needed = match week.parent {
            Parent::Deliveries => IS_DELIVERY_NEEDED,
            Parent::Attempts => IS_ATTEMPT_NEEDED,
            Parent::Events => IS_EVENT_NEEDED,
        };
        let copy = format!(
            "CREATE TEMP TABLE changed ON COMMIT DROP AS
                 WITH taken AS (DELETE FROM week_changes WHERE name = '{name}' RETURNING tenant, id)
                 SELECT DISTINCT tenant, id FROM taken;
             DELETE FROM {kept} WHERE ctid = ANY(ARRAY(
                 SELECT k.ctid FROM changed AS c,
                 LATERAL (SELECT ctid FROM {kept} AS w WHERE w.tenant = c.tenant AND w.{id} = c.id OFFSET 0) AS k));
             INSERT INTO {kept} SELECT o.*
             FROM changed AS c JOIN {floors} AS t (tenant, history, dead) ON t.tenant = c.tenant,
             LATERAL (SELECT * FROM {name} AS w WHERE w.tenant = c.tenant AND w.{id} = c.id OFFSET 0) AS o
             WHERE {needed} ON CONFLICT DO NOTHING"
        );
        match week.parent {
            Parent::Deliveries | Parent::Attempts => copy,
            Parent::Events => {
                let lately = uuid(first_id_at(self.now - CLOCKS_DIFFER_MAX));
                format!("{copy}; {}", self.copy_events_of("open_deliveries", &lately))
            }
        }
    }

    /// Lets the copy take the week's place, or drops both where there is nothing in it. Nobody else can use
    /// the parent meanwhile.
    async fn swap(&self, link: &Link) -> Result<(), Trouble> {
        let Self { week, kept, first, end, .. } = self;
        let (name, parent) = (&week.name, week.parent.name());
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {};
             LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE",
            LOCK_TIME_MAX.as_millis(),
            SWAP_TIME_MAX.as_millis()
        );
        link.batch(&begin).await?;
        link.batch(&self.changes()).await?;
        let is_needed = format!("SELECT EXISTS (SELECT 1 FROM {kept})");
        let is_needed: bool = value(&link.query_opt(&is_needed, &[]).await?.expect("one row"), 0)?;
        let take_place = if is_needed {
            format!(
                "ALTER TABLE {parent} DETACH PARTITION {name};
                 DROP TABLE {name};
                 ALTER TABLE {kept} RENAME TO {name};
                 ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end});
                 ALTER TABLE {name} DROP CONSTRAINT {kept}_week;
                 INSERT INTO kept_weeks (name, kept_at) VALUES ('{name}', {now})
                     ON CONFLICT (name) DO UPDATE SET kept_at = EXCLUDED.kept_at",
                now = self.now.unix_ms()
            )
        } else {
            format!("DROP TABLE {name}; DROP TABLE {kept}; DELETE FROM kept_weeks WHERE name = '{name}'")
        };
        link.batch(&format!("{take_place}; COMMIT")).await
    }
}
