//! Counts open dead letters by endpoint and cause.

use std::cmp::Reverse;
use std::time::Duration;

use harbor_model::delivery::Cause;
use harbor_model::id::EndpointId;
use harbor_model::port::history::{DEAD_LETTERS_COUNTED_MAX, DeadLetterGroup, DeadLetterSummary};
use harbor_model::time::{Clock, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::sqlite::rows::{blob, named, number, time};
use crate::sqlite::trouble::Trouble;

/// After so long the count stops, well before the read would be cut.
const COUNT_MAX: Duration = Duration::from_millis(300);

/// How many dead letters are counted between two looks at the clock.
const COUNTED_AT_ONCE: u64 = 20_000;

/// Finds the next group of an endpoint with one seek, however many dead letters lie between, and its first
/// death. A comparison of two columns at once would go through all of the group before.
pub(crate) const NEXT_CAUSE: &str = "SELECT endpoint_id, cause, dead_at
    FROM deliveries INDEXED BY deliveries_dead_counted
    WHERE tenant = ?1 AND endpoint_id = ?2 AND cause > ?3 AND dlq_state = 'open'
    ORDER BY cause, dead_at LIMIT 1";

/// Finds the first group of the next endpoint.
pub(crate) const NEXT_ENDPOINT: &str = "SELECT endpoint_id, cause, dead_at
    FROM deliveries INDEXED BY deliveries_dead_counted
    WHERE tenant = ?1 AND endpoint_id > ?2 AND dlq_state = 'open'
    ORDER BY endpoint_id, cause, dead_at LIMIT 1";

pub(crate) const LAST_DEATH: &str = "SELECT dead_at FROM deliveries INDEXED BY deliveries_dead_counted
    WHERE tenant = ?1 AND endpoint_id = ?2 AND cause = ?3 AND dlq_state = 'open'
    ORDER BY dead_at DESC LIMIT 1";

/// Passes over some and answers the next one; none where there are fewer.
pub(crate) const PASS_OVER: &str = "SELECT dead_at, id FROM deliveries INDEXED BY deliveries_dead_counted
    WHERE tenant = ?1 AND endpoint_id = ?2 AND cause = ?3 AND dlq_state = 'open' AND (dead_at, id) > (?4, ?5)
    ORDER BY dead_at, id LIMIT 1 OFFSET ?6";

pub(crate) const COUNT_REST: &str = "SELECT count(*) FROM deliveries INDEXED BY deliveries_dead_counted
    WHERE tenant = ?1 AND endpoint_id = ?2 AND cause = ?3 AND dlq_state = 'open' AND (dead_at, id) > (?4, ?5)";

/// Counts, as far as the time goes.
pub(super) fn read(conn: &Connection, tenant: i64, clock: &dyn Clock) -> Result<DeadLetterSummary, Trouble> {
    let began = clock.elapsed();
    let mut counted = 0;
    let mut is_over = |more: u64| {
        counted += more;
        counted >= DEAD_LETTERS_COUNTED_MAX || clock.elapsed().saturating_sub(began) > COUNT_MAX
    };
    let mut groups: Vec<DeadLetterGroup> = Vec::new();
    let mut is_complete = true;
    while is_complete && let Some(mut group) = next_group(conn, tenant, groups.last())? {
        is_complete = count(conn, tenant, &mut group, &mut is_over)?;
        groups.push(group);
    }
    groups.sort_by_key(|group| Reverse(group.count));
    Ok(DeadLetterSummary { groups, is_complete })
}

/// The first group behind another one, not counted yet.
fn next_group(
    conn: &Connection,
    tenant: i64,
    after: Option<&DeadLetterGroup>,
) -> Result<Option<DeadLetterGroup>, Trouble> {
    let endpoint = after.map_or([0; 16], |group| blob(group.endpoint_id.number()));
    if let Some(after) = after {
        let mut query = conn.prepare_cached(NEXT_CAUSE)?;
        let mut rows = query.query((tenant, endpoint, after.cause.as_str()))?;
        if let Some(row) = rows.next()? {
            return group(conn, tenant, row).map(Some);
        }
    }
    let mut query = conn.prepare_cached(NEXT_ENDPOINT)?;
    let mut rows = query.query((tenant, endpoint))?;
    rows.next()?.map(|row| group(conn, tenant, row)).transpose()
}

fn group(conn: &Connection, tenant: i64, first: &Row<'_>) -> Result<DeadLetterGroup, Trouble> {
    let endpoint_id = EndpointId::from_number(number(first, 0)?);
    let cause = named(first, 1, "cause", Cause::from_name)?;
    let mut query = conn.prepare_cached(LAST_DEATH)?;
    let key = (tenant, blob(endpoint_id.number()), cause.as_str());
    let last_dead_at = query.query_row(key, |row| row.get(0))?;
    Ok(DeadLetterGroup {
        endpoint_id,
        cause,
        count: 0,
        first_dead_at: time(first, 2)?,
        last_dead_at: Timestamp::from_unix_ms(last_dead_at),
    })
}

/// Counts a group. False where it was not counted to its end.
fn count(
    conn: &Connection,
    tenant: i64,
    group: &mut DeadLetterGroup,
    is_over: &mut impl FnMut(u64) -> bool,
) -> Result<bool, Trouble> {
    let (endpoint, cause) = (blob(group.endpoint_id.number()), group.cause.as_str());
    let mut place = (i64::MIN, [0_u8; 16]);
    loop {
        let key = (tenant, endpoint, cause, place.0, place.1, COUNTED_AT_ONCE - 1);
        let passed: Option<(i64, [u8; 16])> = conn
            .prepare_cached(PASS_OVER)?
            .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some(next) = passed else { break };
        group.count += COUNTED_AT_ONCE;
        if is_over(COUNTED_AT_ONCE) {
            return Ok(false);
        }
        place = next;
    }
    let key = (tenant, endpoint, cause, place.0, place.1);
    let rest: u64 = conn.prepare_cached(COUNT_REST)?.query_row(key, |row| row.get(0))?;
    group.count += rest;
    // The last group is complete however late it is: whether there is another one is asked next.
    Ok(!is_over(rest) || next_group(conn, tenant, Some(group))?.is_none())
}
