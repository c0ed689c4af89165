//! From when on what happened is still kept: for each tenant by its own policy.

use std::collections::HashMap;
use std::time::Duration;

use harbor_model::policy::retention::{Retention, RetentionLayer};
use harbor_model::time::Timestamp;

use crate::layers::tenant_policy_from_json;
use crate::postgres::database::Link;
use crate::postgres::jobs::END_OF_WALK;
use crate::postgres::rows::{time, value};
use crate::postgres::trouble::Trouble;

/// What of one tenant is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The tenant's number.
    pub(crate) tenant: i64,
    /// What was made from then on is kept.
    pub(crate) history: Timestamp,
    /// Dead letters that died after this are kept.
    pub(crate) dead: Timestamp,
    /// Whether a job may still want what is past its time.
    pub(crate) is_wanted: bool,
}

/// What of all tenants is kept. Those that were deleted are not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Floors {
    pub(crate) tenants: Vec<Floor>,
    /// Nothing from before is anybody's history, nor would be that of a tenant without a policy of its own.
    pub(crate) lowest: Timestamp,
}

const TENANTS: &str = "SELECT number, policy FROM tenants WHERE deleted_at IS NULL ORDER BY number";

/// Jobs that look for what to replay, by tenant.
const WANTING: &str = "SELECT tenant, min(created_at) FROM jobs
    WHERE status IN ('pending', 'running') AND kind = 'replay' AND place <> $1 GROUP BY tenant";

impl Floors {
    /// Reads what every tenant's policy says at `now`.
    pub(crate) async fn load(
        link: &Link,
        instance: &RetentionLayer,
        now: Timestamp,
    ) -> Result<Self, Trouble> {
        let mut wanted_at: HashMap<i64, Timestamp> = HashMap::new();
        for row in link.query(WANTING, &[&END_OF_WALK]).await? {
            wanted_at.insert(value(&row, 0)?, time(&row, 1)?);
        }
        let of_nobody = Retention::resolve(instance, &RetentionLayer::default());
        let mut lowest = ago(now, of_nobody.history.value);
        let mut tenants = Vec::new();
        for row in link.query(TENANTS, &[]).await? {
            let tenant = value(&row, 0)?;
            let policy = tenant_policy_from_json(value(&row, 1)?)
                .map_err(|error| Trouble::damaged("policy", error))?;
            let retention = Retention::resolve(instance, &policy.retention);
            // What a job was made for stays until it has found it.
            let since = wanted_at.get(&tenant).map_or(now, |made_at| now.min(*made_at));
            let floor = Floor {
                tenant,
                history: ago(since, retention.history.value),
                dead: ago(since, retention.dead_letters.value),
                is_wanted: wanted_at.contains_key(&tenant),
            };
            lowest = lowest.min(floor.history);
            tenants.push(floor);
        }
        Ok(Self { tenants, lowest })
    }
}

/// The instant so long before, but none that no id can have: who keeps things for centuries keeps all.
fn ago(since: Timestamp, kept: Duration) -> Timestamp {
    let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(since.unix_ms().saturating_sub(kept_ms).max(0))
}
