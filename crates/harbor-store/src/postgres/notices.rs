//! Notices: written beside what they tell of, read by whoever publishes them.

use async_trait::async_trait;
use harbor_model::chance::Rng;
use harbor_model::id::NoticeId;
use harbor_model::notice::{Notice, Subject};
use harbor_model::port::Fault;
use harbor_model::port::notices::Notices;
use harbor_model::time::Timestamp;

use crate::notices::{subject_from_json, subject_to_json};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Tx, retried};
use crate::postgres::rows::{bigint, number, parsed, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl Notices for PostgresStore {
    async fn notices(&self, limit: usize) -> Result<Vec<Notice>, Fault> {
        retried("read notices", async || {
            let link = self.database.browse().await?;
            let rows = link.query(OLDEST, &[&bigint(limit)]).await?;
            let read = |row| {
                let (kind, json): (&str, &str) = (value(row, 2)?, value(row, 3)?);
                Ok(Notice {
                    id: NoticeId::from_number(number(row, 0)?),
                    tenant_id: parsed(row, 1, "tenant id")?,
                    subject: subject_from_json(kind, json)
                        .ok_or_else(|| Trouble::damaged("notice", format!("{kind}: {json}")))?,
                })
            };
            rows.iter().map(read).collect()
        })
        .await
    }

    async fn forget_notices(&self, ids: Vec<NoticeId>) -> Result<(), Fault> {
        let ids: Vec<Uuid> = ids.into_iter().map(|id| Uuid(id.number())).collect();
        retried("forget notices", async || {
            self.database.browse().await?.execute(FORGET, &[&ids]).await.map(drop)
        })
        .await
    }
}

/// Those of a tenant that was deleted are left to its purge.
pub(crate) const OLDEST: &str = "SELECT n.id, t.id, n.kind, n.subject
    FROM notices AS n,
    LATERAL (SELECT id FROM tenants WHERE number = n.tenant AND deleted_at IS NULL OFFSET 0) AS t
    ORDER BY n.id LIMIT $1";

pub(crate) const FORGET: &str = "DELETE FROM notices WHERE id = ANY($1)";

pub(crate) const TELL: &str = "INSERT INTO notices (id, tenant, kind, subject)
    SELECT $2, number, $3, $4 FROM tenants WHERE number = $1 AND watched";

/// Writes a notice, if anybody of the tenant wants such.
pub(crate) async fn tell(
    tx: &Tx,
    rng: &dyn Rng,
    tenant: i64,
    subject: &Subject,
    now: Timestamp,
) -> Result<(), Trouble> {
    let id = Uuid(NoticeId::new(now, rng).number());
    let (kind, json) = (subject.event_type(), subject_to_json(subject));
    tx.execute(TELL, &[&tenant, &id, &kind.as_str(), &json]).await?;
    Ok(())
}

/// What [`subject_to_json`] writes of a dead delivery, as SQL; `$from` is its row.
macro_rules! dead_subject {
    ($from:literal) => {
        concat!(
            "json_build_object(
                'endpoint_id', ulid_text('ep', ",
            $from,
            ".endpoint_id), 'delivery_id', ulid_text('dlv', ",
            $from,
            ".id), 'event_id', ulid_text('evt', ",
            $from,
            ".event_id), 'event_type', ",
            $from,
            ".event_type, 'cause', ",
            $from,
            ".cause, 'attempt_count', ",
            $from,
            ".attempt_count)::text"
        )
    };
}
pub(crate) use dead_subject;

const IS_WATCHED: &str = "SELECT 1 FROM tenants WHERE number = $1 AND watched";

/// Deliveries of operational events beget no others.
pub(crate) const TELL_OF_DEAD: &str = concat!(
    "INSERT INTO notices (id, tenant, kind, subject)
    SELECT asked.notice_id, d.tenant, 'harborhook.delivery.dead', ",
    dead_subject!("d"),
    " FROM unnest($2::uuid[], $3::uuid[]) AS asked (id, notice_id),
    LATERAL (
        SELECT * FROM deliveries_done AS done
        WHERE done.tenant = $1 AND done.id = asked.id AND NOT starts_with(done.event_type, 'harborhook.') OFFSET 0) AS d"
);

/// Writes notices of deliveries that died in this transaction, if anybody of the tenant wants such.
pub(crate) async fn tell_of_dead(
    tx: &Tx,
    rng: &dyn Rng,
    tenant: i64,
    ids: &[Uuid],
    now: Timestamp,
) -> Result<(), Trouble> {
    if ids.is_empty() || tx.query_opt(IS_WATCHED, &[&tenant]).await?.is_none() {
        return Ok(());
    }
    let notice_ids: Vec<Uuid> = ids.iter().map(|_| Uuid(NoticeId::new(now, rng).number())).collect();
    tx.execute(TELL_OF_DEAD, &[&tenant, &ids, &notice_ids]).await?;
    Ok(())
}
