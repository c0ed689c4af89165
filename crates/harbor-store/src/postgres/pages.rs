//! Lists, page by page, newest first.

use harbor_model::port::page::Page;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::pages::{Filling, IdRange, Seen};
use crate::postgres::database::Link;
use crate::postgres::rows::bigint;
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// How many rows are read at a time in search of what is wanted.
const SEARCH_STEP: usize = 1_000;

/// A list by ids, newest first.
pub(crate) struct List<'a> {
    /// Reads the rows of the tenant `$1` with ids from `$2` to `$3`, at most `$4`, newest first.
    pub(crate) sql: &'a str,
    /// The tenant.
    pub(crate) tenant: &'a (dyn ToSql + Sync),
    /// Which ids.
    pub(crate) range: IdRange,
    /// What the statement is narrowed by, from `$5` on.
    pub(crate) narrowed_by: &'a [&'a (dyn ToSql + Sync)],
    /// The most items.
    pub(crate) limit: usize,
}

impl List<'_> {
    /// Reads rows until the page is full, the rows are at their end, or enough were read.
    pub(crate) async fn page<T>(
        &self,
        link: &Link,
        read: impl Fn(&Row) -> Result<Seen<T>, Trouble>,
    ) -> Result<Page<T>, Trouble> {
        let mut page = Filling::new(self.limit);
        let mut range = self.range;
        // Mostly everything that is read is wanted. One more row tells whether there is a next page.
        let mut step = self.limit.saturating_add(1);
        while !range.is_empty() {
            let asked = step.min(page.rows_left() + 1);
            let rows = self.rows(link, range, asked).await?;
            let is_end = rows.len() < asked;
            for row in rows {
                if page.is_over() {
                    return Ok(page.stop());
                }
                page.add(read(&row)?);
            }
            let Some(last) = page.last().filter(|_| !is_end) else { break };
            range = range.below(last);
            step = SEARCH_STEP;
        }
        Ok(page.end())
    }

    async fn rows(&self, link: &Link, range: IdRange, count: usize) -> Result<Vec<Row>, Trouble> {
        let (first, last) = range.ends();
        let (first, last, count) = (Uuid(first), Uuid(last), bigint(count));
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![self.tenant, &first, &last, &count];
        parameters.extend(self.narrowed_by);
        link.query(self.sql, &parameters).await
    }
}
