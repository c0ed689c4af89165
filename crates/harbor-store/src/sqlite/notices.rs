//! Notices that wait to be published as operational events.

use async_trait::async_trait;
use harbor_model::delivery::Cause;
use harbor_model::event_type::EventType;
use harbor_model::id::{DeliveryId, EndpointId, EventId, NoticeId};
use harbor_model::notice::{Notice, Subject};
use harbor_model::port::Fault;
use harbor_model::port::notices::Notices;
use harbor_model::time::Timestamp;
use rusqlite::Connection;

use crate::notices::{subject_from_json, subject_to_json};
use crate::sqlite::SqliteStore;
use crate::sqlite::rows::{blob, number, parsed, value};
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;

pub(crate) const INSERT: &str = "INSERT INTO notices (id, tenant, kind, subject) VALUES (?1, ?2, ?3, ?4)";

/// Writes a notice of a tenant that is watched.
pub(crate) fn write(tx: &Tx<'_>, tenant: i64, subject: &Subject, now: Timestamp) -> Result<(), Trouble> {
    let id = NoticeId::new(now, tx.memory.rng());
    tx.conn.prepare_cached(INSERT)?.execute((
        blob(id.number()),
        tenant,
        subject.event_type().as_str(),
        subject_to_json(subject),
    ))?;
    Ok(())
}

/// A delivery that is dead, as its row tells.
pub(crate) struct Dead<'a> {
    pub(crate) delivery_id: u128,
    pub(crate) event_id: u128,
    pub(crate) event_type: &'a str,
    pub(crate) endpoint_id: u128,
    pub(crate) cause: Cause,
    pub(crate) attempt_count: u16,
}

/// Writes a notice of a death at a tenant that is watched; none of an operational event's, which beget no
/// others.
pub(crate) fn write_dead(tx: &Tx<'_>, tenant: i64, dead: &Dead<'_>, now: Timestamp) -> Result<(), Trouble> {
    let event_type: EventType =
        dead.event_type.parse().map_err(|error| Trouble::damaged("event type", error))?;
    if event_type.is_operational() {
        return Ok(());
    }
    let subject = Subject::DeliveryDead {
        delivery_id: DeliveryId::from_number(dead.delivery_id),
        event_id: EventId::from_number(dead.event_id),
        event_type,
        endpoint_id: EndpointId::from_number(dead.endpoint_id),
        cause: dead.cause,
        attempt_count: dead.attempt_count,
    };
    write(tx, tenant, &subject, now)
}

#[async_trait]
impl Notices for SqliteStore {
    async fn notices(&self, limit: usize) -> Result<Vec<Notice>, Fault> {
        self.database.read(move |conn| oldest(conn, limit)).await
    }

    async fn forget_notices(&self, ids: Vec<NoticeId>) -> Result<(), Fault> {
        let forget = move |tx: &mut Tx<'_>| {
            let mut delete = tx.conn.prepare_cached("DELETE FROM notices WHERE id = ?1")?;
            for id in &ids {
                delete.execute([blob(id.number())])?;
            }
            Ok(())
        };
        self.database.change(forget, |()| ()).await
    }
}

pub(crate) const OLDEST: &str = "SELECT n.id, t.id, n.kind, n.subject
    FROM notices AS n CROSS JOIN tenants AS t ON t.number = n.tenant
    WHERE t.deleted_at IS NULL ORDER BY n.id";

/// What this program does not know is left to the one that wrote it.
fn oldest(conn: &Connection, limit: usize) -> Result<Vec<Notice>, Trouble> {
    let mut query = conn.prepare_cached(OLDEST)?;
    let mut rows = query.query([])?;
    let mut notices = Vec::new();
    while notices.len() < limit
        && let Some(row) = rows.next()?
    {
        let (kind, subject): (String, String) = (value(row, 2)?, value(row, 3)?);
        if let Some(subject) = subject_from_json(&kind, &subject) {
            let id = NoticeId::from_number(number(row, 0)?);
            notices.push(Notice { id, tenant_id: parsed(row, 1, "tenant id")?, subject });
        }
    }
    Ok(notices)
}
