//! Lists: one page, or all of them.

use clap::Args;
use harbor_wire::client::{ClientError, Pages};
use harbor_wire::list::{List, ListPage};
use serde::de::DeserializeOwned;

/// The most items of one page.
const PAGE_ITEMS_MAX: u16 = 500;
/// The most items that `--all` gathers, so that a list of millions does not fill the memory.
const ALL_ITEMS_MAX: usize = 100_000;

/// How much of a list to show.
#[derive(Args, Clone, Default)]
pub(crate) struct ListArgs {
    /// The most items, newest first [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500), conflicts_with = "all")]
    limit: Option<u16>,

    /// Go on after the page that named this cursor
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,

    /// All pages, up to 100,000 items
    #[arg(long)]
    all: bool,
}

impl ListArgs {
    /// All pages.
    pub(crate) fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// The page size to ask for.
    pub(crate) fn limit(&self) -> Option<u16> {
        if self.all { Some(PAGE_ITEMS_MAX) } else { self.limit }
    }

    /// Where to begin.
    pub(crate) fn cursor(&self) -> Option<String> {
        self.cursor.clone()
    }

    /// The first page to ask for, of a list with nothing else to choose.
    pub(crate) fn ask(&self) -> ListPage {
        ListPage { limit: self.limit(), cursor: self.cursor() }
    }

    /// Fetches what is wanted of a list. Its cursor says whether there is more.
    pub(crate) async fn fetch<T: DeserializeOwned>(
        &self,
        mut pages: Pages<T>,
    ) -> Result<List<T>, ClientError> {
        let mut list = List { data: Vec::new(), next_cursor: None };
        while let Some(page) = pages.next_page().await? {
            list.data.extend(page.data);
            list.next_cursor = page.next_cursor;
            if !self.all || list.data.len() >= ALL_ITEMS_MAX {
                break;
            }
        }
        Ok(list)
    }
}
