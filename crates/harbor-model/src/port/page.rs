//! Lists, page by page, newest first.

/// Which page of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageAsk {
    /// The most items.
    pub limit: usize,
    /// Begin after the item at this position; at the newest where there is none.
    pub after: Option<Position>,
}

/// A place in a list: the number that the list is ordered by, of the last row that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(pub u128);

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What matched, newest first. May be fewer than asked for and still have a next page,
    /// since a page reads at most [`PAGE_ROWS_READ_MAX`] rows.
    pub items: Vec<T>,
    /// Where the next page begins; none at the end.
    pub next: Option<Position>,
}

/// The most rows that one page reads in search of what matches.
pub const PAGE_ROWS_READ_MAX: usize = 10_000;
