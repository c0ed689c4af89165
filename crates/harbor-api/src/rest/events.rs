//! Events that were published.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::EventId;
use harbor_wire::delivery::DeliveryWithAttempts;
use harbor_wire::event::{Event, EventSummary, ListEventDeliveries, ListEvents};
use harbor_wire::list::List;

use crate::answer;
use crate::call::Call;
use crate::convert;
use crate::list::{Listing, owner_name};
use crate::problem::{Kind, Refusal, Result};
use crate::router::Api;

/// Lists events, newest first.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/events", tag = "events", operation_id = "list_events",
    params(ListEvents),
    responses((status = 200, description = "A page of events.", body = List<EventSummary>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let mut query: ListEvents = call.query()?;
    let filter = convert::event::read_filter(&query)?;
    let listing =
        Listing::new(&api.cursors, api.settings(), "events", owner_name(Some(&tenant)), &mut query)?;
    let page = api.deps.history.events(&tenant, filter, listing.ask).await?;
    Ok(listing.answer(&api.cursors, page, |event| convert::event::write_summary(&event)))
}

/// Reads an event: its payload, whom it went to, and where it went to nobody, why.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/events/{id}", tag = "events", operation_id = "get_event",
    responses((status = 200, description = "The event.", body = Event)),
)]
pub(crate) async fn find(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let id: EventId = call.id(Kind::EventNotFound)?;
    let event = api.deps.history.find_event(&tenant, id).await?;
    let event = event.ok_or_else(|| Refusal::bare(Kind::EventNotFound))?;
    Ok(answer::ok(&convert::event::write(&event)?))
}

/// Removes the payload of an event for good. Its open deliveries die, and it cannot be replayed any more;
/// doing it again changes nothing.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}/events/{id}/payload", tag = "events",
    operation_id = "expunge_event",
    responses((status = 204, description = "The payload is gone.")),
)]
pub(crate) async fn expunge(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let id: EventId = call.id(Kind::EventNotFound)?;
    api.deps.interventions.expunge(&tenant, id).await?;
    Ok(answer::gone())
}

/// Lists the deliveries of an event with their attempts.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/events/{id}/deliveries", tag = "events",
    operation_id = "list_event_deliveries",
    params(ListEventDeliveries),
    responses((status = 200, description = "A page of deliveries.", body = List<DeliveryWithAttempts>)),
)]
pub(crate) async fn deliveries(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let id: EventId = call.id(Kind::EventNotFound)?;
    let mut query: ListEventDeliveries = call.query()?;
    let filter = convert::delivery::read_event_filter(&query)?;
    let owner = format!("{tenant}/{id}");
    let listing = Listing::new(&api.cursors, api.settings(), "event_deliveries", owner, &mut query)?;
    let page = api.deps.history.deliveries_of_event(&tenant, id, filter, listing.ask).await?;
    // Only an empty list raises the question whether the event is there at all.
    if page.items.is_empty() && api.deps.history.find_event(&tenant, id).await?.is_none() {
        return Err(Refusal::bare(Kind::EventNotFound));
    }
    Ok(listing.answer(&api.cursors, page, |found| convert::delivery::write_with_attempts(&found)))
}
