//! Lists: pages of things, newest first.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

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

/// Which page of a list to read, where there is nothing else to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListPage {
    /// The most items on a page; 50 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u16>,
    /// The `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
