//! Lists, page by page, newest first.

use harbor_model::port::page::Page;
use rusqlite::{Row, Rows};

use crate::pages::{Filling, Seen};
use crate::sqlite::trouble::Trouble;

/// Reads rows, newest first, until the page is full, the rows are at their end, or enough were read.
pub(crate) fn page<T>(
    mut rows: Rows<'_>,
    limit: usize,
    mut read: impl FnMut(&Row<'_>) -> Result<Seen<T>, Trouble>,
) -> Result<Page<T>, Trouble> {
    let mut page = Filling::new(limit);
    while let Some(row) = rows.next()? {
        if page.is_over() {
            return Ok(page.stop());
        }
        page.add(read(row)?);
    }
    Ok(page.end())
}
