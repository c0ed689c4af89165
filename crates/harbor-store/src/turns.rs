//! A queue that takes turns between tenants, so that nobody waits behind another's backlog.
//!
//! Each tenant has a line of its own, first in, first out; what belongs to no tenant has one, too. The
//! lines that are not empty come round in turn, and a turn is worth [`TURN_WEIGHT`]. What weighs more waits
//! until its line has saved up enough turns (deficit round robin), so heavy batches get no more than light
//! ones.
//!
//! Nothing here waits or locks: the caller does.

use std::collections::{HashMap, VecDeque};

use harbor_model::id::TenantId;

/// How much of one line goes before the next has its turn.
pub(crate) const TURN_WEIGHT: usize = 32;

/// How much may wait. It bounds what is [offered](Turns::offer); what is pushed is never refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// For all together. Beyond it, a tenant is refused unless less than an equal share of it waits for it.
    pub(crate) weight_max: usize,
    /// For one tenant.
    pub(crate) tenant_weight_max: usize,
}

/// The queue, of whatever waits.
pub(crate) struct Turns<J> {
    room: Room,
    lines: HashMap<Option<TenantId>, Line<J>>,
    /// The lines that are not empty, in the order of their turns.
    round: VecDeque<Option<TenantId>>,
    weight: usize,
}

struct Line<J> {
    waiting: VecDeque<Waiting<J>>,
    /// What it may still take of its turn, with what it saved up.
    credit: usize,
    /// Of what waits, what was offered.
    offered_weight: usize,
}

struct Waiting<J> {
    job: J,
    weight: usize,
    is_offered: bool,
}

impl<J> Turns<J> {
    /// An empty queue.
    pub(crate) fn new(room: Room) -> Self {
        Self { room, lines: HashMap::new(), round: VecDeque::new(), weight: 0 }
    }

    /// Adds a job at the end of its tenant's line, however much waits.
    pub(crate) fn push(&mut self, tenant: Option<TenantId>, weight: usize, job: J) {
        self.join(tenant, Waiting { job, weight, is_offered: false });
    }

    /// Adds jobs with their weights at the end of their tenant's line, all of them or none: gives them back
    /// where the tenant has too much waiting. Whoever has nothing waiting is never refused, so that every
    /// batch goes through some time.
    pub(crate) fn offer(&mut self, tenant: &TenantId, jobs: Vec<(usize, J)>) -> Result<(), Vec<(usize, J)>> {
        let tenant = Some(tenant.clone());
        let weight: usize = jobs.iter().map(|(weight, _)| weight).sum();
        if !self.has_room(&tenant, weight) {
            return Err(jobs);
        }
        for (weight, job) in jobs {
            self.join(tenant.clone(), Waiting { job, weight, is_offered: true });
        }
        Ok(())
    }

    /// Takes the job whose turn it is, if it `fits`. One that does not keeps its place, and nobody
    /// overtakes it: a small job that fits must not keep a large one waiting forever.
    pub(crate) fn pop(&mut self, fits: impl FnOnce(&J) -> bool) -> Option<J> {
        self.pop_free(|_| true, fits)
    }

    /// The same, but passes over lines whose first job is not free to go: they keep their place and gain
    /// nothing.
    pub(crate) fn pop_free(
        &mut self,
        is_free: impl Fn(&J) -> bool,
        fits: impl FnOnce(&J) -> bool,
    ) -> Option<J> {
        let mut passed = 0;
        // Ends since each time round every line that is free comes nearer to what its first job weighs.
        let line = loop {
            if passed == self.round.len() {
                return None;
            }
            let line = self.lines.get_mut(self.round.front()?).expect("each tenant of the round has a line");
            if !is_free(&line.first().job) {
                passed += 1;
                self.round.rotate_left(1);
                continue;
            }
            passed = 0;
            if line.first().weight <= line.credit {
                break line;
            }
            line.credit += TURN_WEIGHT;
            self.round.rotate_left(1);
        };
        if !fits(&line.first().job) {
            return None;
        }
        let Waiting { job, weight, is_offered } =
            line.waiting.pop_front().expect("a line of the round is not empty");
        line.credit -= weight;
        line.offered_weight -= if is_offered { weight } else { 0 };
        self.weight -= weight;
        if line.waiting.is_empty() {
            // With its line goes its credit: nobody saves up turns while nothing waits.
            self.round.pop_front().and_then(|tenant| self.lines.remove(&tenant));
        }
        Some(job)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.round.is_empty()
    }

    fn has_room(&self, tenant: &Option<TenantId>, weight: usize) -> bool {
        let Some(line) = self.lines.get(tenant).filter(|line| line.offered_weight > 0) else { return true };
        let of_tenant = line.offered_weight + weight;
        let share = self.room.weight_max / self.round.len();
        of_tenant <= self.room.tenant_weight_max
            && (self.weight + weight <= self.room.weight_max || of_tenant <= share)
    }

    fn join(&mut self, tenant: Option<TenantId>, waiting: Waiting<J>) {
        let round = &mut self.round;
        let line = self.lines.entry(tenant).or_insert_with_key(|tenant| {
            round.push_back(tenant.clone());
            Line { waiting: VecDeque::new(), credit: TURN_WEIGHT, offered_weight: 0 }
        });
        self.weight += waiting.weight;
        line.offered_weight += if waiting.is_offered { waiting.weight } else { 0 };
        line.waiting.push_back(waiting);
    }
}

impl<J> Line<J> {
    fn first(&self) -> &Waiting<J> {
        self.waiting.front().expect("a line of the round is not empty")
    }
}

#[cfg(test)]
mod tests;
