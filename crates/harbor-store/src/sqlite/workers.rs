//! Who is at work, and what becomes of the work of the dead.
//!
//! All in memory, with the leases in `leases.rs`: the workers are in this process, and end with it. Only
//! the interruptions that a death counts are rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

use async_trait::async_trait;
use harbor_model::id::WorkerId;
use harbor_model::port::Fault;
use harbor_model::port::workers::{Leader, Roll, Workers};
use harbor_model::time::Timestamp;

use crate::sqlite::SqliteStore;
use crate::sqlite::leases::Bereft;
use crate::sqlite::rows::blob;
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Weight, Work};

/// Who does what one process does at a time. Since there is one process, the first to ask has it for good,
/// unless it is outlived.
#[derive(Default)]
pub(crate) struct Leaders(Mutex<HashMap<&'static str, Leader>>);

#[async_trait]
impl Workers for SqliteStore {
    async fn enlist(&self, worker: WorkerId, _: Timestamp) -> Result<(), Fault> {
        self.leases.enlist(worker);
        Ok(())
    }

    async fn beat(&self, worker: WorkerId, _: Timestamp) -> Result<Roll, Fault> {
        Ok(self.leases.beat(worker))
    }

    async fn bury(&self, worker: WorkerId, count: u64, now: Timestamp) -> Result<Option<usize>, Fault> {
        let Some(bereft) = self.leases.bury(worker, count) else { return Ok(None) };
        let freed = bereft.len();
        let mut bereft = bereft.into_iter().peekable();
        let mut parts = Vec::new();
        while bereft.peek().is_some() {
            let bereft: Vec<_> = bereft.by_ref().take(self.bounds.items_max).collect();
            let weight = Weight { items: bereft.len(), bytes: 0 };
            parts.push(self.database.hand_in(None, weight, CountInterruptions { bereft, now }));
        }
        // Where a part fails its deliveries are free all the same, with an interruption that nobody counts.
        for part in parts {
            part.await?;
        }
        Ok(Some(freed))
    }

    async fn discharge(&self, worker: WorkerId) -> Result<(), Fault> {
        self.leases.discharge(worker);
        Ok(())
    }

    async fn reconcile(&self, _: WorkerId) -> Result<usize, Fault> {
        // Each lease is a guard in this process, whose drop frees it: on a panic, and on a commit that
        // was not answered, too. Nothing can be held that nobody has.
        Ok(0)
    }

    async fn lead(
        &self,
        task: &'static str,
        candidate: WorkerId,
        outlived: Option<Leader>,
    ) -> Result<Leader, Fault> {
        let mut leaders = self.leaders.0.lock().expect("no holder panics");
        let leader = match leaders.entry(task) {
            Entry::Vacant(place) => *place.insert(Leader { worker: candidate, count: 1 }),
            Entry::Occupied(mut place) => {
                let leader = place.get_mut();
                if leader.worker == candidate || outlived == Some(*leader) {
                    *leader = Leader { worker: candidate, count: leader.count + 1 };
                }
                *leader
            }
        };
        Ok(leader)
    }
}

/// Counts an interruption for each delivery that a dead worker may have had in flight, and holds it
/// until that is committed.
struct CountInterruptions {
    bereft: Vec<Bereft>,
    now: Timestamp,
}

impl Work for CountInterruptions {
    type Answer = ();

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<(), Trouble> {
        self.bereft.iter().try_for_each(|one| count_interruption(tx, one, self.now))
    }
}

/// A first interruption is counted on suspicion. Who was interrupted before says when its attempt begins,
/// so that later ones hit only those that were at it.
pub(crate) const COUNT_INTERRUPTION: &str =
    "UPDATE deliveries SET interrupted_count = interrupted_count + 1, updated_at = ?3
    WHERE tenant = ?1 AND id = ?2 AND due_at IS NOT NULL AND (interrupted_count = 0 OR ?4)";

/// Only counts: who next leases a delivery with too many ends it, and knows what its policy says of its lane.
fn count_interruption(tx: &mut Tx<'_>, bereft: &Bereft, now: Timestamp) -> Result<(), Trouble> {
    let Some(tenant) = tx.tenant(&bereft.tenant_id)? else { return Ok(()) };
    let key = (tenant.number, blob(bereft.id().number()), now.unix_ms(), bereft.is_started);
    tx.conn.prepare_cached(COUNT_INTERRUPTION)?.execute(key)?;
    Ok(())
}
