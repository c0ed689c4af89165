//! Lists: which page is asked for, and the answer.

use axum::response::Response;
use harbor_model::id::TenantId;
use harbor_model::invalid::FieldError;
use harbor_model::port::page::{Page, PageAsk};
use harbor_wire::delivery::{ListDeadLetters, ListDeliveries};
use harbor_wire::event::{ListEventDeliveries, ListEvents};
use harbor_wire::list::{List, ListPage};
use harbor_wire::subscription::ListSubscriptions;
use serde::Serialize;

use crate::answer;
use crate::cursor::{CursorSeal, ListScope};
use crate::settings::Settings;

/// A query of a list: its filters, and which page.
pub(crate) trait ListQuery: Serialize {
    /// Takes the limit and the cursor out; what is left are the filters.
    fn take_page(&mut self) -> (Option<u16>, Option<String>);
}

macro_rules! list_queries {
    ($($name:ident)*) => {$(
        impl ListQuery for $name {
            fn take_page(&mut self) -> (Option<u16>, Option<String>) {
                (self.limit.take(), self.cursor.take())
            }
        }
    )*};
}

list_queries!(ListDeadLetters ListDeliveries ListEventDeliveries ListEvents ListPage ListSubscriptions);

/// One page of one list, as it was asked for.
pub(crate) struct Listing {
    pub(crate) ask: PageAsk,
    list: &'static str,
    owner: String,
    filter: String,
}

impl Listing {
    /// Reads which page of `list` is asked for. `owner` is whose list it is, and under what it hangs.
    pub(crate) fn new(
        seal: &CursorSeal,
        settings: &Settings,
        list: &'static str,
        owner: String,
        query: &mut impl ListQuery,
    ) -> Result<Self, Vec<FieldError>> {
        let (limit, cursor) = query.take_page();
        let filter = serde_urlencoded::to_string(&*query).expect("a query has only texts and words");
        let (limit, max) = (limit.unwrap_or(settings.list_limit_default), settings.list_limit_max);
        let mut wrong = Vec::new();
        if !(1..=max).contains(&limit) {
            wrong.push(FieldError::new("limit", format!("must be 1 to {max}")));
        }
        let scope = ListScope { list, owner: &owner, filter: &filter };
        let after = match cursor.map(|cursor| seal.open(scope, &cursor)).transpose() {
            Ok(after) => after,
            Err(error) => {
                wrong.push(FieldError::new("cursor", error));
                None
            }
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self { ask: PageAsk { limit: usize::from(limit), after }, list, owner, filter })
    }

    /// The page as it is answered.
    pub(crate) fn answer<T, W: Serialize>(
        &self,
        seal: &CursorSeal,
        page: Page<T>,
        convert: impl Fn(T) -> W,
    ) -> Response {
        let scope = ListScope { list: self.list, owner: &self.owner, filter: &self.filter };
        answer::ok(&List {
            data: page.items.into_iter().map(convert).collect(),
            next_cursor: page.next.map(|position| seal.seal(scope, position)),
        })
    }
}

/// The name of an owner in cursors. No tenant is called like the instance.
pub(crate) fn owner_name(tenant: Option<&TenantId>) -> String {
    tenant.map_or_else(|| "(instance)".to_owned(), TenantId::to_string)
}

#[cfg(test)]
mod tests {
    use harbor_model::port::page::Position;

    use super::*;

    fn listing(query: &str) -> Result<Listing, Vec<String>> {
        let mut query: ListDeliveries = crate::query::parse(query).unwrap();
        let seal = CursorSeal::new(&[1; 32]);
        Listing::new(&seal, &Settings::default(), "deliveries", "acme".to_owned(), &mut query)
            .map_err(|wrong| wrong.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn a_page_has_a_limit_and_a_beginning() {
        let ask = |query: &str| listing(query).map(|listing| listing.ask);
        assert_eq!(ask(""), Ok(PageAsk { limit: 50, after: None }));
        assert_eq!(ask("limit=500").map(|ask| ask.limit), Ok(500));
        assert_eq!(ask("limit=0"), Err(vec!["limit".to_owned()]));
        assert_eq!(ask("limit=501&cursor=made-up"), Err(vec!["limit".to_owned(), "cursor".to_owned()]));
    }

    #[test]
    fn a_cursor_goes_on_with_the_same_filters_and_any_limit() {
        let seal = CursorSeal::new(&[1; 32]);
        let scope = ListScope { list: "deliveries", owner: "acme", filter: "status=dead" };
        let cursor = seal.seal(scope, Position(9));

        let found = listing(&format!("limit=3&status=dead&cursor={cursor}")).map(|listing| listing.ask);
        assert_eq!(found, Ok(PageAsk { limit: 3, after: Some(Position(9)) }));
        for other in ["", "status=queued&", "status=dead&event_type=a&"] {
            let found = listing(&format!("{other}cursor={cursor}")).map(|listing| listing.ask);
            assert_eq!(found, Err(vec!["cursor".to_owned()]), "{other}");
        }
    }
}
