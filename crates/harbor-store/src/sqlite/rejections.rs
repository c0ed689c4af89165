//! The last requests that sources refused.

use async_trait::async_trait;
use harbor_model::id::{RejectionId, SourceId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::sources::{Refused, Rejections};
use harbor_model::source::{REJECTIONS_KEPT, Rejected};
use rusqlite::Connection;

use crate::pages::{IdRange, Seen};
use crate::sources::{rejected_from_json, rejected_to_json};
use crate::sqlite::SqliteStore;
use crate::sqlite::pages::page;
use crate::sqlite::rows::{blob, number, value};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Rejections for SqliteStore {
    async fn note_rejections(&self, refused: Vec<Refused>) -> Result<(), Fault> {
        let note = move |tx: &mut Tx<'_>| refused.iter().try_for_each(|refused| note(tx, refused));
        self.database.change(note, |()| ()).await
    }

    async fn rejections(
        &self,
        tenant: &TenantId,
        source: SourceId,
        ask: PageAsk,
    ) -> Result<Page<Rejected>, Fault> {
        let tenant_id = tenant.clone();
        let list = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let (first, last) = IdRange::new(ask.after, None, None).ends();
            let mut query = conn.prepare_cached(LIST)?;
            page(query.query((tenant, blob(source.number()), blob(first), blob(last)))?, ask.limit, |row| {
                let position = number(row, 0)?;
                let key = (RejectionId::from_number(position), &tenant_id, source);
                let rejected = rejected_from_json(key, &value::<String>(row, 1)?, value(row, 2)?)?;
                Ok(Seen { position, item: Some(rejected) })
            })
        };
        self.database.browse(list).await
    }
}

pub(crate) const LIST: &str = "SELECT id, request, signed_text FROM rejections
    WHERE tenant = ?1 AND source_id = ?2 AND id BETWEEN ?3 AND ?4 ORDER BY id DESC";

pub(crate) const COUNT: &str =
    "UPDATE sources SET rejected_count = rejected_count + ?3 WHERE tenant = ?1 AND id = ?2";

const KEEP: &str = "INSERT OR IGNORE INTO rejections (tenant, source_id, id, request, signed_text)
    VALUES (?1, ?2, ?3, ?4, ?5)";

pub(crate) const FORGET: &str = "DELETE FROM rejections WHERE tenant = ?1 AND source_id = ?2 AND id <= (
        SELECT id FROM rejections WHERE tenant = ?1 AND source_id = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)";

fn note(tx: &mut Tx<'_>, refused: &Refused) -> Result<(), Trouble> {
    let Some(tenant) = tx.tenant(&refused.tenant_id)? else { return Ok(()) };
    let source = blob(refused.source_id.number());
    if tx.conn.prepare_cached(COUNT)?.execute((tenant.number, source, refused.count))? == 0 {
        return Ok(());
    }
    let mut keep = tx.conn.prepare_cached(KEEP)?;
    for rejected in &refused.newest {
        let request = rejected_to_json(rejected);
        keep.execute((tenant.number, source, blob(rejected.id.number()), request, &rejected.signed_text))?;
    }
    tx.conn.prepare_cached(FORGET)?.execute((tenant.number, source, REJECTIONS_KEPT))?;
    Ok(())
}
