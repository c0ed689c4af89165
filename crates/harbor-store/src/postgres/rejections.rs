//! The last requests that sources refused.

use async_trait::async_trait;
use harbor_model::id::{RejectionId, SourceId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::sources::{Refused, Rejections};
use harbor_model::source::{REJECTIONS_KEPT, Rejected};

use crate::pages::{Filling, IdRange, Seen};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Tx, retried};
use crate::postgres::registry::find_tenant_number;
use crate::postgres::rows::{bigint, number, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;
use crate::sources::{rejected_from_json, rejected_to_json};

#[async_trait]
impl Rejections for PostgresStore {
    async fn note_rejections(&self, mut refused: Vec<Refused>) -> Result<(), Fault> {
        // In one order, so that processes that note at once do not wait for each other in a circle.
        refused.sort_by_key(|refused| refused.source_id);
        retried("note refused requests", async || {
            let tx = self.database.begin().await?;
            for refused in &refused {
                note(&tx, refused).await?;
            }
            tx.commit().await
        })
        .await
    }

    async fn rejections(
        &self,
        tenant: &TenantId,
        source: SourceId,
        ask: PageAsk,
    ) -> Result<Page<Rejected>, Fault> {
        retried("list refused requests", async || {
            let link = self.database.browse().await?;
            let mut page = Filling::new(ask.limit);
            let Some(tenant_number) = find_tenant_number(&link, tenant).await? else { return Ok(page.end()) };
            let (first, last) = IdRange::new(ask.after, None, None).ends();
            let source_id = Uuid(source.number());
            // There are few: all are read.
            for row in link.query(LIST, &[&tenant_number, &source_id, &Uuid(first), &Uuid(last)]).await? {
                if page.is_over() {
                    return Ok(page.stop());
                }
                let position = number(&row, 0)?;
                let key = (RejectionId::from_number(position), tenant, source);
                let rejected = rejected_from_json(key, value(&row, 1)?, value(&row, 2)?)?;
                page.add(Seen { position, item: Some(rejected) });
            }
            Ok(page.end())
        })
        .await
    }
}

pub(crate) const LIST: &str = "SELECT id, request, signed_text FROM rejections
    WHERE tenant = $1 AND source_id = $2 AND id BETWEEN $3 AND $4 ORDER BY id DESC";

/// Its row keeps others who note of this source waiting.
pub(crate) const COUNT: &str = "UPDATE sources AS s SET rejected_count = rejected_count + $3
    FROM tenants AS t
    WHERE t.id = $1 AND t.deleted_at IS NULL AND s.tenant = t.number AND s.id = $2
    RETURNING s.tenant";

const KEEP: &str = "INSERT INTO rejections (tenant, source_id, id, request, signed_text)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

pub(crate) const FORGET: &str = "DELETE FROM rejections WHERE tenant = $1 AND source_id = $2 AND id <= (
        SELECT id FROM rejections WHERE tenant = $1 AND source_id = $2 ORDER BY id DESC LIMIT 1 OFFSET $3)";

async fn note(tx: &Tx, refused: &Refused) -> Result<(), Trouble> {
    let source = Uuid(refused.source_id.number());
    let counted =
        tx.query_opt(COUNT, &[&refused.tenant_id.as_str(), &source, &bigint(refused.count)]).await?;
    let Some(row) = counted else { return Ok(()) };
    let tenant: i64 = value(&row, 0)?;
    for rejected in &refused.newest {
        let (id, request) = (Uuid(rejected.id.number()), rejected_to_json(rejected));
        tx.execute(KEEP, &[&tenant, &source, &id, &request, &rejected.signed_text]).await?;
    }
    tx.execute(FORGET, &[&tenant, &source, &bigint(REJECTIONS_KEPT)]).await?;
    Ok(())
}
