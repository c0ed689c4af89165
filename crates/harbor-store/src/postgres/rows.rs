//! How values of the model stand in rows.

use std::error::Error;
use std::str::FromStr;

use bytes::Bytes;
use harbor_model::delivery::{Cause, DeadLetter, DeadLetterState, Delivery, DeliveryStatus};
use harbor_model::event::EventBody;
use harbor_model::event::trace::TraceContext;
use harbor_model::event_type::EventType;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId};
use harbor_model::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// Reads a value of a plain type.
pub(crate) fn value<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Trouble> {
    Ok(row.try_get(column)?)
}

/// Reads the number of an id.
pub(crate) fn number(row: &Row, column: usize) -> Result<u128, Trouble> {
    Ok(value::<Uuid>(row, column)?.0)
}

/// Reads the number of an id that need not be there.
pub(crate) fn number_if_any(row: &Row, column: usize) -> Result<Option<u128>, Trouble> {
    Ok(value::<Option<Uuid>>(row, column)?.map(|id| id.0))
}

/// Reads bytes of a known length.
pub(crate) fn bytes<const N: usize>(
    row: &Row,
    column: usize,
    what: &'static str,
) -> Result<[u8; N], Trouble> {
    let stored: &[u8] = value(row, column)?;
    stored.try_into().map_err(|error| Trouble::damaged(what, error))
}

/// A whole number, whether the column is an `integer` or a `bigint`.
struct Whole(i64);

impl<'a> FromSql<'a> for Whole {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        if *ty == Type::INT4 { i32::from_sql(ty, raw).map(i64::from) } else { i64::from_sql(ty, raw) }
            .map(Self)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::INT4 || *ty == Type::INT8
    }
}

/// Reads a whole number into the type that the model has for it.
pub(crate) fn whole<T: TryFrom<i64>>(row: &Row, column: usize, what: &'static str) -> Result<T, Trouble> {
    let Whole(stored) = value(row, column)?;
    T::try_from(stored).map_err(|_| Trouble::damaged(what, stored))
}

/// Reads a whole number that need not be there.
pub(crate) fn whole_if_any<T: TryFrom<i64>>(
    row: &Row,
    column: usize,
    what: &'static str,
) -> Result<Option<T>, Trouble> {
    let Some(Whole(stored)) = value(row, column)? else { return Ok(None) };
    T::try_from(stored).map(Some).map_err(|_| Trouble::damaged(what, stored))
}

/// A count or version as it is stored. None comes near the end of the type.
pub(crate) fn bigint(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Reads a time.
pub(crate) fn time(row: &Row, column: usize) -> Result<Timestamp, Trouble> {
    Ok(Timestamp::from_unix_ms(value(row, column)?))
}

/// Reads a time that need not be there.
pub(crate) fn time_if_any(row: &Row, column: usize) -> Result<Option<Timestamp>, Trouble> {
    Ok(value::<Option<i64>>(row, column)?.map(Timestamp::from_unix_ms))
}

/// Reads a text that the model parses.
pub(crate) fn parsed<T: FromStr>(row: &Row, column: usize, what: &'static str) -> Result<T, Trouble>
where
    T::Err: ToString,
{
    let text: &str = value(row, column)?;
    text.parse().map_err(|error: T::Err| Trouble::damaged(what, error.to_string()))
}

/// Reads the stable name of one of the model's values.
pub(crate) fn named<T>(
    row: &Row,
    column: usize,
    what: &'static str,
    from_name: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Trouble> {
    let name: &str = value(row, column)?;
    from_name(name).ok_or_else(|| Trouble::damaged(what, name))
}

/// Reads a stable name that need not be there.
pub(crate) fn named_if_any<T>(
    row: &Row,
    column: usize,
    what: &'static str,
    from_name: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Trouble> {
    let Some(name) = value::<Option<&str>>(row, column)? else { return Ok(None) };
    from_name(name).map(Some).ok_or_else(|| Trouble::damaged(what, name))
}

/// Reads JSON that we wrote; nothing where there is none.
pub(crate) fn json_if_any<T: serde::de::DeserializeOwned + Default>(
    row: &Row,
    column: usize,
    what: &'static str,
) -> Result<T, Trouble> {
    let Some(text) = value::<Option<&str>>(row, column)? else { return Ok(T::default()) };
    serde_json::from_str(text).map_err(|error| Trouble::damaged(what, error))
}

/// The columns of an open delivery that [`delivery`] reads, in its order; `d` is its row. The last one says
/// whether it is leased.
///
/// Where leases are looked for, it must be by a subquery that is never hashed: hashed, it would go through
/// all leases of everybody.
pub(crate) const OPEN_COLUMNS: &str = "d.id, d.event_id, d.event_type, d.endpoint_id, d.status, \
     d.attempt_count, d.due_at, d.updated_at, NULL::bigint AS delivered_at, d.replay_of, \
     NULL::text AS cause, NULL::bigint AS dead_at, NULL::text AS dlq_state, NULL::uuid AS replayed_by, \
     (SELECT true FROM leases AS l WHERE l.tenant = d.tenant AND l.delivery_id = d.id LIMIT 1) IS NOT NULL \
     AS is_leased";

/// The columns of a delivery that is final, likewise.
pub(crate) const DONE_COLUMNS: &str = "d.id, d.event_id, d.event_type, d.endpoint_id, d.status, \
     d.attempt_count, NULL::bigint AS due_at, d.updated_at, d.delivered_at, d.replay_of, d.cause, \
     d.dead_at, d.dlq_state, d.replayed_by, false AS is_leased";

/// Reads a delivery. One that is leased is shown as in flight, which its status does not say.
pub(crate) fn delivery(row: &Row, tenant_id: &TenantId) -> Result<Delivery, Trouble> {
    let id = DeliveryId::from_number(number(row, 0)?);
    let stored = named(row, 4, "status", DeliveryStatus::from_name)?;
    let is_inflight: bool = value(row, 14)?;
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
        attempt_count: whole(row, 5, "count of attempts")?,
        next_attempt_at: time_if_any(row, 6)?.filter(|_| !is_inflight),
        created_at: id.made_at(),
        updated_at: time(row, 7)?,
        delivered_at: time_if_any(row, 8)?,
        replay_of: number_if_any(row, 9)?.map(DeliveryId::from_number),
        dead_letter,
    })
}

/// The columns of an event that [`event_body`] reads, in its order.
pub(crate) const EVENT_COLUMNS: &str =
    "event_type, content_type, headers, trace_id, span_id, trace_sampled, trace_state, payload";

/// Reads what requests need of an event, and whether its payload is still kept; from this column on.
pub(crate) fn event_body(
    row: &Row,
    first: usize,
    tenant_id: TenantId,
    id: EventId,
) -> Result<(EventBody, bool), Trouble> {
    let payload: Option<&[u8]> = value(row, first + 7)?;
    let body = EventBody {
        id,
        tenant_id,
        event_type: parsed(row, first, "event type")?,
        payload: payload.map(Bytes::copy_from_slice).unwrap_or_default(),
        content_type: value(row, first + 1)?,
        headers: json_if_any(row, first + 2, "headers")?,
        trace: TraceContext {
            trace_id: u128::from_be_bytes(bytes(row, first + 3, "trace id")?),
            span_id: u64::from_be_bytes(bytes(row, first + 4, "span id")?),
            sampled: value(row, first + 5)?,
            state: value(row, first + 6)?,
        },
        created_at: id.made_at(),
    };
    Ok((body, payload.is_some()))
}

/// Writes pairs or a map as JSON; nothing where there are none.
pub(crate) fn to_json_if_any<T: serde::Serialize + ?Sized>(value: &T, is_empty: bool) -> Option<String> {
    (!is_empty).then(|| serde_json::to_string(value).expect("texts make JSON"))
}
