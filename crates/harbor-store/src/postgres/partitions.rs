//! Makes the partitions of the weeks to come, before anything needs them.

use std::collections::BTreeSet;
use std::time::Duration;

use harbor_model::time::Timestamp;

use crate::postgres::database::Database;
use crate::postgres::trouble::Trouble;

/// How much one partition holds.
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How far ahead partitions are made: a process that cannot make any for weeks still has them.
const AHEAD: Duration = Duration::from_secs(4 * 7 * 24 * 60 * 60);

/// Keeps processes that look at once out of each other's way; `parts` in ASCII.
const LOCK: &str = "SELECT pg_advisory_xact_lock(482671228019)";

const MAKE: &str = "SELECT make_partitions($1, $2)";

/// The beginning of the week of an instant; partitions are of weeks.
pub(crate) fn week_of(instant: Timestamp) -> Timestamp {
    // 1970 began on a Thursday; weeks begin on Monday.
    let week = i64::try_from(WEEK.as_millis()).expect("a week is short");
    let monday = 4 * week / 7;
    Timestamp::from_unix_ms((instant.unix_ms() - monday).div_euclid(week) * week + monday)
}

/// Makes what is missing around this instant, by the store's clock.
pub(crate) async fn make_around(database: &Database, now: Timestamp) -> Result<(), Trouble> {
    make(database, now - WEEK, now + AHEAD).await
}

/// Makes what is missing for the weeks of these instants, which nobody had seen coming.
pub(crate) async fn make_for(
    database: &Database,
    instants: impl IntoIterator<Item = Timestamp>,
) -> Result<(), Trouble> {
    let weeks: BTreeSet<Timestamp> = instants.into_iter().map(week_of).collect();
    for week in weeks {
        tracing::info!("partitions are made for {week}, which nobody had seen coming");
        make(database, week, week).await?;
    }
    Ok(())
}

/// Makes what is missing between these instants.
pub(crate) async fn make(database: &Database, from: Timestamp, until: Timestamp) -> Result<(), Trouble> {
    let tx = database.begin().await?;
    tx.execute(LOCK, &[]).await?;
    tx.execute(MAKE, &[&from.unix_ms(), &until.unix_ms()]).await?;
    tx.commit().await
}
