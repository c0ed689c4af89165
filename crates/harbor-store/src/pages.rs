//! Lists, page by page, newest first: what does not depend on the database.

use harbor_model::port::page::{PAGE_ROWS_READ_MAX, Page, Position};
use harbor_model::time::Timestamp;

/// A row that was read: where it stands, and what it shows if it is wanted.
pub(crate) struct Seen<T> {
    pub(crate) position: u128,
    pub(crate) item: Option<T>,
}

/// A page that is being filled with rows, newest first.
///
/// The next page begins after the last row that was read, wanted or not: so a list in which little is
/// wanted goes on in steps, and what is there at its first page is seen once.
pub(crate) struct Filling<T> {
    items: Vec<T>,
    limit: usize,
    read_count: usize,
    last: Option<u128>,
}

impl<T> Filling<T> {
    /// An empty page for at most `limit` items.
    pub(crate) fn new(limit: usize) -> Self {
        Self { items: Vec::new(), limit, read_count: 0, last: None }
    }

    /// Whether no further row may be read: the items are enough, or the rows.
    pub(crate) fn is_over(&self) -> bool {
        self.items.len() >= self.limit || self.read_count >= PAGE_ROWS_READ_MAX
    }

    /// Takes the next row.
    pub(crate) fn add(&mut self, seen: Seen<T>) {
        self.read_count += 1;
        self.last = Some(seen.position);
        self.items.extend(seen.item);
    }

    /// How many rows may still be read.
    pub(crate) fn rows_left(&self) -> usize {
        PAGE_ROWS_READ_MAX - self.read_count
    }

    /// Where the last row stood.
    pub(crate) fn last(&self) -> Option<u128> {
        self.last
    }

    /// The page, after which more rows are.
    pub(crate) fn stop(self) -> Page<T> {
        Page { items: self.items, next: self.last.map(Position) }
    }

    /// The page, which is the last.
    pub(crate) fn end(self) -> Page<T> {
        Page { items: self.items, next: None }
    }
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

    /// The same, but below this id.
    pub(crate) fn below(self, id: u128) -> Self {
        let last = id.checked_sub(1).zip(self.last).map(|(end, last)| last.min(end));
        Self { last, ..self }
    }

    /// Whether nothing can lie in it.
    pub(crate) fn is_empty(self) -> bool {
        self.last.is_none_or(|last| last < self.first)
    }

    /// Whether an id lies in it.
    pub(crate) fn contains(self, id: u128) -> bool {
        id >= self.first && self.last.is_some_and(|last| id <= last)
    }

    /// Its first and last id.
    pub(crate) fn ends(self) -> (u128, u128) {
        (self.first, self.last.unwrap_or(0))
    }
}

/// The smallest id that can be made at `at`.
pub(crate) fn first_id_at(at: Timestamp) -> u128 {
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
        assert!(!IdRange::new(None, None, None).below(7).contains(7));
        assert!(IdRange::new(None, None, None).below(7).contains(6));
        assert!(IdRange::new(None, None, None).below(0).is_empty());
    }
}
