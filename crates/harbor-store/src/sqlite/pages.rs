//! Lists, page by page, newest first.

use harbor_model::port::page::{PAGE_ROWS_READ_MAX, Page, Position};
use harbor_model::time::Timestamp;
use rusqlite::{Row, Rows};

use crate::sqlite::rows::blob;
use crate::sqlite::trouble::Trouble;

/// A row that was read: where it stands, and what it shows if it is wanted.
pub(crate) struct Seen<T> {
    pub(crate) position: u128,
    pub(crate) item: Option<T>,
}

/// Reads rows, newest first, until the page is full, the rows are at their end, or enough were read.
///
/// The next page begins after the last row that was read, wanted or not: so a list in which little is
/// wanted goes on in steps, and what is there at its first page is seen once.
pub(crate) fn page<T>(
    mut rows: Rows<'_>,
    limit: usize,
    mut read: impl FnMut(&Row<'_>) -> Result<Seen<T>, Trouble>,
) -> Result<Page<T>, Trouble> {
    let mut items = Vec::new();
    let mut last = None;
    let mut read_count = 0;
    while let Some(row) = rows.next()? {
        if items.len() >= limit || read_count >= PAGE_ROWS_READ_MAX {
            return Ok(Page { items, next: last.map(Position) });
        }
        let seen = read(row)?;
        read_count += 1;
        last = Some(seen.position);
        items.extend(seen.item);
    }
    Ok(Page { items, next: None })
}

/// A range of ids: from `first`, to `end` which lies outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRange {
    first: u128,
    last: Option<u128>,
}

impl IdRange {
    /// What comes after a position in a list that goes downwards, made since one time and before another.
    pub(crate) fn new(after: Option<Position>, since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        // The end of a range of time is the first id of that millisecond.
        let ends = [after.map(|position| position.0), until.map(first_id_at)];
        let last = match ends.into_iter().flatten().min() {
            // An end of zero leaves nothing.
            Some(end) => end.checked_sub(1),
            None => Some(u128::MAX),
        };
        Self { first: since.map_or(0, first_id_at), last }
    }

    /// The same, but not above this id.
    pub(crate) fn up_to(self, id: u128) -> Self {
        Self { last: self.last.map(|last| last.min(id)), ..self }
    }

    /// Whether nothing can lie in it.
    pub(crate) fn is_empty(self) -> bool {
        self.last.is_none_or(|last| last < self.first)
    }

    /// Whether an id lies in it.
    pub(crate) fn contains(self, id: u128) -> bool {
        id >= self.first && self.last.is_some_and(|last| id <= last)
    }

    /// Its first and last id, as they are stored.
    pub(crate) fn blobs(self) -> ([u8; 16], [u8; 16]) {
        (blob(self.first), blob(self.last.unwrap_or(0)))
    }
}

/// The smallest id that can be made at `at`.
fn first_id_at(at: Timestamp) -> u128 {
    u128::from(at.unix_ms().unsigned_abs()) << 80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_its_bounds_say() {
        let at = Timestamp::from_unix_ms;
        let check = |after: Option<u128>, since: Option<i64>, until: Option<i64>, id: u128, expected| {
            let range = IdRange::new(after.map(Position), since.map(at), until.map(at));
            assert_eq!(range.contains(id), expected, "{after:?} {since:?} {until:?} {id:x}");
        };
        let second = 1_u128 << 80;
        check(None, None, None, 0, true);
        check(None, None, None, u128::MAX, true);
        check(Some(5), None, None, 4, true);
        check(Some(5), None, None, 5, false);
        check(Some(0), None, None, 0, false);
        check(None, Some(1), None, second, true);
        check(None, Some(1), None, second - 1, false);
        check(None, None, Some(1), second - 1, true);
        check(None, None, Some(1), second, false);
        check(Some(second), None, Some(9), second, false);
        assert!(IdRange::new(None, Some(at(2)), Some(at(2))).is_empty());
        assert!(IdRange::new(Some(Position(0)), None, None).is_empty());
        assert!(!IdRange::new(None, None, None).up_to(7).contains(8));
    }
}
