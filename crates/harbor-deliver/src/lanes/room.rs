//! How much a tenant and a lane may hold: what is left for all bounds what one may have.
//!
//! A tenant may hold as much as is still free for all, a lane as much as is still free for its tenant. So
//! whoever is alone gets much, the more there are the less each gets, and some is always free for one that
//! comes later.

use crate::lanes::Settings;

/// A tenant may hold so many deliveries whatever is free, as long as anything is.
pub(crate) const TENANT_ITEMS_FLOOR: usize = 16;

/// A lane may hold so many deliveries whatever is free, as long as its tenant may hold more.
pub(crate) const LANE_ITEMS_FLOOR: usize = 4;

/// Payload bytes: of all, of a tenant, of one of its lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BytesHeld {
    pub(crate) all: u64,
    pub(crate) tenant: u64,
    pub(crate) lane: u64,
}

impl Settings {
    /// How many deliveries one tenant may hold while `held` are held in all.
    pub(crate) fn tenant_items_limit(&self, held: usize) -> usize {
        let free = self.items_max.saturating_sub(held);
        if free == 0 {
            return 0;
        }
        self.tenant_items_max.min(free.max(TENANT_ITEMS_FLOOR))
    }

    /// How many more deliveries a lane may hold, which by itself may hold `lane_items_max`. None where its
    /// tenant may hold no more.
    pub(crate) fn lane_room(
        &self,
        held: usize,
        tenant_items: usize,
        lane_items: usize,
        lane_items_max: usize,
    ) -> Option<usize> {
        let free = self.tenant_items_limit(held).checked_sub(tenant_items).filter(|free| *free > 0)?;
        Some(lane_items_max.min(free.max(LANE_ITEMS_FLOOR)).saturating_sub(lane_items).min(free))
    }

    /// Whether a lane may hold another payload of this size.
    pub(crate) fn takes_bytes(&self, held: BytesHeld, bytes: u64) -> bool {
        let free = self.bytes_max.saturating_sub(held.all);
        if held.tenant == 0 {
            // A payload that exceeds every budget by itself still has to go some time.
            return free > 0;
        }
        let limit = self.tenant_bytes_max.min(free);
        let tenant_fits = held.tenant + bytes <= limit;
        tenant_fits && (held.lane == 0 || held.lane + bytes <= limit - held.tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        slots_max: 10,
        lane_items_max: 100,
        tenant_items_max: 500,
        items_max: 1000,
        bytes_max: 1000,
        tenant_bytes_max: 400,
        endpoints_max: 10,
    };

    #[test]
    fn a_tenant_may_hold_as_much_as_is_free() {
        let check = |held, expected| {
            assert_eq!(SETTINGS.tenant_items_limit(held), expected, "with {held} held");
        };
        check(0, 500);
        check(500, 500);
        check(700, 300);
        check(990, TENANT_ITEMS_FLOOR);
        check(999, TENANT_ITEMS_FLOOR);
        check(1000, 0);
        check(1010, 0);
    }

    #[test]
    fn a_lane_may_hold_as_much_as_is_free_of_its_tenants() {
        let check = |held, tenant, lane, lane_max, expected| {
            let found = SETTINGS.lane_room(held, tenant, lane, lane_max);
            assert_eq!(
                found, expected,
                "{held} held, {tenant} by the tenant, {lane} of {lane_max} in the lane"
            );
        };
        check(0, 0, 0, 64, Some(64));
        check(50, 50, 50, 64, Some(14));
        check(64, 64, 64, 64, Some(0));
        check(400, 400, 40, 64, Some(24));
        check(470, 470, 40, 64, Some(0));
        check(470, 470, 20, 64, Some(10));
        check(498, 498, 0, 64, Some(2));
        check(498, 498, LANE_ITEMS_FLOOR, 64, Some(0));
        check(500, 500, 0, 64, None);
        check(900, 60, 0, 64, Some(40));
        check(900, 100, 0, 64, None);
        check(995, 0, 0, 64, Some(16));
        check(1000, 0, 0, 64, None);
    }

    #[test]
    fn bytes_are_shared_like_items() {
        let check = |all, tenant, lane, bytes, expected| {
            let held = BytesHeld { all, tenant, lane };
            assert_eq!(SETTINGS.takes_bytes(held, bytes), expected, "{bytes} more with {held:?}");
        };
        check(0, 0, 0, 5_000, true);
        check(999, 0, 0, 5_000, true);
        check(1000, 0, 0, 1, false);
        check(100, 100, 100, 200, true);
        check(100, 100, 100, 201, false);
        check(100, 100, 0, 300, true);
        check(100, 100, 0, 301, false);
        check(800, 100, 0, 100, true);
        check(800, 100, 0, 101, false);
        check(5_000, 5_000, 5_000, 0, false);
    }

    /// All take in turn until nobody gets any more; answers what each tenant has.
    fn fill(tenants: usize, lanes: usize, lane_items_max: usize) -> Vec<usize> {
        let mut items = vec![vec![0; lanes]; tenants];
        let mut total = 0;
        loop {
            let before = total;
            for lane in 0..lanes {
                for tenant in &mut items {
                    let held = tenant.iter().sum();
                    let room = SETTINGS.lane_room(total, held, tenant[lane], lane_items_max);
                    let taken = room.unwrap_or(0).min(1);
                    tenant[lane] += taken;
                    total += taken;
                }
            }
            if before == total {
                return items.iter().map(|tenant| tenant.iter().sum()).collect();
            }
        }
    }

    #[test]
    fn some_is_free_however_many_want_all() {
        let check = |tenants, lanes, expected: &[usize]| {
            assert_eq!(fill(tenants, lanes, 100), expected, "{tenants} tenants with {lanes} lanes each");
        };
        check(1, 1, &[100]);
        check(1, 1000, &[500]);
        check(2, 1000, &[334, 333]);
        check(4, 1000, &[200, 200, 200, 200]);
        let many = fill(40, 50, 100);
        assert!(many.iter().all(|items| (TENANT_ITEMS_FLOOR..=30).contains(items)), "{many:?}");
    }
}
