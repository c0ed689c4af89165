//! Lists: pages of things, newest first.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list, newest first.
///
/// What existed when the first page was read appears exactly once on the way through all pages.
/// A page may be shorter than its limit and still have a next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The things on this page.
    pub data: Vec<T>,
    /// Give this as `cursor` to read the next page; null on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}
