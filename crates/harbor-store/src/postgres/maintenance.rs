//! Looks after the database itself: partitions for the weeks to come, and the tables of open work, whose rows
//! live for moments.
//!
//! The server sweeps those tables by itself, but only once a minute at best; at full load that is a long way
//! for every walk over what is due.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harbor_model::time::Timestamp;

use crate::postgres::database::Database;
use crate::postgres::rows::value;
use crate::postgres::trouble::Trouble;
use crate::postgres::{partitions, quotas};

/// How often it is seen to that the weeks to come have their partitions, which are made weeks ahead.
const BETWEEN_PARTITIONS: Duration = Duration::from_secs(6 * 60 * 60);

/// From so many rows that vanished on the tables are swept in due course.
const DEAD_ROWS_MIN: i64 = 20_000;

/// From so many on they are swept at once.
const DEAD_ROWS_MAX: i64 = 200_000;

/// The due course.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(5 * 60);

/// The least time between two sweeps. One that frees nothing, since an old transaction still looks at the
/// rows, is not made over and over.
const BETWEEN_URGENT_SWEEPS: Duration = Duration::from_secs(30);

/// How long a sweep may take.
const SWEEP_TIME_MAX: Duration = Duration::from_secs(60);

const DEAD_ROWS: &str = "SELECT pg_stat_get_dead_tuples('open_deliveries'::regclass)
    + pg_stat_get_dead_tuples('leases'::regclass)";

/// Giving pages back to the file system would lock everybody out for a moment.
const SWEEP: &str = "VACUUM (TRUNCATE off) open_deliveries, leases";

/// What was done when by this process. Another that takes over begins anew, which costs little.
#[derive(Default)]
pub(crate) struct Maintenance(Mutex<Done>);

#[derive(Default)]
struct Done {
    partitioned_at: Option<Timestamp>,
    swept_at: Option<Timestamp>,
}

impl Maintenance {
    /// Does what is due at `now`.
    pub(crate) async fn run(&self, database: &Database, now: Timestamp) -> Result<(), Trouble> {
        let last = self.done().partitioned_at;
        if has_passed(BETWEEN_PARTITIONS, last, now) {
            partitions::make_around(database, now).await?;
            quotas::forget_old(&database.browse().await?, now).await?;
            self.done().partitioned_at = Some(now);
        }

        let last = self.done().swept_at;
        if !has_passed(BETWEEN_URGENT_SWEEPS, last, now) {
            return Ok(());
        }
        let link = database.browse().await?;
        let row = link.query_opt(DEAD_ROWS, &[]).await?;
        let dead_rows: i64 = value(&row.expect("functions answer with one row"), 0)?;
        let is_urgent = dead_rows >= DEAD_ROWS_MAX;
        if is_urgent || dead_rows >= DEAD_ROWS_MIN && has_passed(BETWEEN_SWEEPS, last, now) {
            self.done().swept_at = Some(now);
            link.batch_at_leisure(SWEEP, SWEEP_TIME_MAX).await?;
        }
        Ok(())
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_passed(interval: Duration, since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_none_or(|since| now.since(since) >= interval)
}
