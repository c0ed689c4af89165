//! What became of every event that was acknowledged, read page by page as a customer would.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::server::Site;
use crate::stage::Tenant;
use crate::{control, event_key};

const PAGE: u32 = 500;

/// What became of the events of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Events that were acknowledged.
    pub events: u64,
    /// Their deliveries that were found.
    pub deliveries: u64,
    /// How many deliveries stand where; what is neither `delivered`, `dead` nor `cancelled` is open.
    pub statuses: BTreeMap<String, u64>,
    /// Deliveries that acknowledged events should have and do not.
    pub missing: u64,
    /// Deliveries that acknowledged events have beyond one for each endpoint.
    pub surplus: u64,
}

/// Reads all deliveries of a tenant and holds them against the events that were acknowledged.
pub(crate) async fn take(site: &Site, tenant: &Tenant, acknowledged: &[u64]) -> Result<Account> {
    let mut deliveries = HashMap::with_capacity(acknowledged.len());
    let mut statuses = BTreeMap::new();
    let mut connection = Connection::open(site.api).await?;
    let mut cursor = None;
    loop {
        let page = page(site, tenant, &mut connection, cursor.as_deref()).await?;
        for delivery in page.data {
            *deliveries.entry(event_key::of(delivery.event_id.as_bytes())).or_default() += 1;
            *statuses.entry(delivery.status).or_default() += 1;
        }
        cursor = page.next_cursor;
        // The list ends, since what is made after its first page is not in it.
        if cursor.is_none() {
            break;
        }
    }
    Ok(Account::of(acknowledged, &deliveries, tenant.endpoint_ids.len() as u64, statuses))
}

impl Account {
    fn of(
        acknowledged: &[u64],
        deliveries: &HashMap<u64, u64>,
        fan_out: u64,
        statuses: BTreeMap<String, u64>,
    ) -> Self {
        let mut account = Self { events: acknowledged.len() as u64, statuses, ..Self::default() };
        for event in acknowledged {
            let count = deliveries.get(event).copied().unwrap_or_default();
            account.deliveries += count;
            account.missing += fan_out.saturating_sub(count);
            account.surplus += count.saturating_sub(fan_out);
        }
        account
    }

    /// Returns what is wrong, one sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let faults = [
            (self.missing, "deliveries of acknowledged events are neither open nor final: they are lost"),
            (self.surplus, "deliveries of acknowledged events are too many"),
        ];
        let faults = faults.iter().filter(|(count, _)| *count > 0);
        faults.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Delivery>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Delivery {
    event_id: String,
    status: String,
}

async fn page(
    site: &Site,
    tenant: &Tenant,
    connection: &mut Connection,
    cursor: Option<&str>,
) -> Result<Page> {
    let mut path = format!("/v1/deliveries?limit={PAGE}");
    if let Some(cursor) = cursor {
        path.extend(["&cursor=", cursor]);
    }
    let request = control::request(site.api, Method::GET, &path, Some(&tenant.api_key), Bytes::new())?;
    let body = control::successful(connection.send(request).await?, "GET /v1/deliveries")?;
    serde_json::from_slice(&body).context("a page of deliveries cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_all_its_deliveries_has_lost_some() {
        let found = HashMap::from([(1, 2), (2, 1), (4, 3), (5, 2)]);
        let account = Account::of(&[1, 2, 3, 4], &found, 2, BTreeMap::new());
        assert_eq!((account.events, account.deliveries, account.missing, account.surplus), (4, 6, 3, 1));
        assert_eq!(account.faults().len(), 2);
    }

    #[test]
    fn an_account_without_a_gap_has_no_faults() {
        let account = Account::of(&[1, 2], &HashMap::from([(1, 1), (2, 1), (9, 1)]), 1, BTreeMap::new());
        assert!(account.faults().is_empty(), "an event whose answer was lost is nobody's fault");
    }
}
