//! How values of the model stand in rows.

use harbor_model::delivery::{Cause, DeadLetter, DeadLetterState, Delivery, DeliveryStatus};
use harbor_model::event_type::EventType;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId};
use harbor_model::time::Timestamp;
use rusqlite::Row;
use rusqlite::types::FromSql;

use crate::sqlite::lanes::NEVER;
use crate::sqlite::trouble::Trouble;

/// The bytes of an id, as they are stored.
pub(crate) fn blob(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

/// Reads the number of an id.
pub(crate) fn number(row: &Row<'_>, column: usize) -> Result<u128, Trouble> {
    Ok(u128::from_be_bytes(row.get(column)?))
}

/// Reads the number of an id that need not be there.
pub(crate) fn number_if_any(row: &Row<'_>, column: usize) -> Result<Option<u128>, Trouble> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(u128::from_be_bytes))
}

/// Reads a time.
pub(crate) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, Trouble> {
    Ok(Timestamp::from_unix_ms(row.get(column)?))
}

/// Reads a time that need not be there.
pub(crate) fn time_if_any(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Trouble> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_unix_ms))
}

/// Reads a text that the model parses.
pub(crate) fn parsed<T: std::str::FromStr>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
) -> Result<T, Trouble>
where
    T::Err: ToString,
{
    let text = row.get_ref(column)?.as_str().map_err(|error| Trouble::damaged(what, error))?;
    text.parse().map_err(|error: T::Err| Trouble::damaged(what, error.to_string()))
}

/// Reads the stable name of one of the model's values.
pub(crate) fn named<T>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
    from_name: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Trouble> {
    let name = row.get_ref(column)?.as_str().map_err(|error| Trouble::damaged(what, error))?;
    from_name(name).ok_or_else(|| Trouble::damaged(what, name))
}

/// Reads a stable name that need not be there.
pub(crate) fn named_if_any<T>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
    from_name: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Trouble> {
    if is_null(row, column)? {
        return Ok(None);
    }
    named(row, column, what, from_name).map(Some)
}

/// Reads JSON that we wrote; nothing where there is none.
pub(crate) fn json_if_any<T: serde::de::DeserializeOwned + Default>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
) -> Result<T, Trouble> {
    if is_null(row, column)? {
        return Ok(T::default());
    }
    let text = row.get_ref(column)?.as_str().map_err(|error| Trouble::damaged(what, error))?;
    serde_json::from_str(text).map_err(|error| Trouble::damaged(what, error))
}

fn is_null(row: &Row<'_>, column: usize) -> Result<bool, Trouble> {
    Ok(row.get_ref(column)? == rusqlite::types::ValueRef::Null)
}

/// Writes pairs or a map as JSON; nothing where there are none.
pub(crate) fn to_json_if_any<T: serde::Serialize + ?Sized>(value: &T, is_empty: bool) -> Option<String> {
    (!is_empty).then(|| serde_json::to_string(value).expect("texts make JSON"))
}

/// Reads a value of a plain type.
pub(crate) fn value<T: FromSql>(row: &Row<'_>, column: usize) -> Result<T, Trouble> {
    Ok(row.get(column)?)
}

/// The columns that [`delivery`] reads, in its order.
pub(crate) const DELIVERY_COLUMNS: &str = "id, event_id, event_type, endpoint_id, status, attempt_count, \
     due_at, updated_at, delivered_at, replay_of, cause, dead_at, dlq_state, replayed_by";

/// Reads a delivery. One that is leased is shown as in flight, which the row does not say; one behind the
/// head of its lane without a next attempt.
pub(crate) fn delivery(row: &Row<'_>, tenant_id: &TenantId, is_leased: bool) -> Result<Delivery, Trouble> {
    let id = DeliveryId::from_number(number(row, 0)?);
    let stored = named(row, 4, "status", DeliveryStatus::from_name)?;
    let due_at: Option<i64> = value(row, 6)?;
    let is_open = due_at.is_some();
    let is_inflight = is_open && is_leased;
    let dead_letter = match named_if_any(row, 12, "dead letter state", DeadLetterState::from_name)? {
        Some(state) => Some(DeadLetter {
            cause: named(row, 10, "cause", Cause::from_name)?,
            dead_at: time(row, 11)?,
            state,
            replayed_by: number_if_any(row, 13)?.map(DeliveryId::from_number),
        }),
        None => None,
    };
    Ok(Delivery {
        id,
        tenant_id: tenant_id.clone(),
        event_id: EventId::from_number(number(row, 1)?),
        event_type: parsed::<EventType>(row, 2, "event type")?,
        endpoint_id: EndpointId::from_number(number(row, 3)?),
        status: if is_inflight { DeliveryStatus::Inflight } else { stored },
        attempt_count: value(row, 5)?,
        next_attempt_at: due_at.filter(|at| !is_inflight && *at != NEVER).map(Timestamp::from_unix_ms),
        created_at: id.made_at(),
        updated_at: time(row, 7)?,
        delivered_at: time_if_any(row, 8)?,
        replay_of: number_if_any(row, 9)?.map(DeliveryId::from_number),
        dead_letter,
    })
}
