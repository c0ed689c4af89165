//! A batch of a port, taken apart by tenant and by transaction, and its answers put together again.

use std::iter::zip;

use harbor_model::id::TenantId;
use harbor_model::port::Fault;

/// The items of each tenant, in their order, with the places at which they stood.
pub(crate) fn by_tenant<T>(
    items: Vec<T>,
    tenant_of: impl Fn(&T) -> &TenantId,
) -> Vec<(TenantId, Vec<(usize, T)>)> {
    let mut placed: Vec<_> = items.into_iter().enumerate().collect();
    // Stable, and quick for the batch of a single tenant.
    placed.sort_by(|(_, one), (_, other)| tenant_of(one).cmp(tenant_of(other)));
    let mut groups: Vec<(TenantId, Vec<(usize, T)>)> = Vec::new();
    for (place, item) in placed {
        match groups.last_mut() {
            Some((tenant_id, group)) if tenant_id == tenant_of(&item) => group.push((place, item)),
            _ => groups.push((tenant_of(&item).clone(), vec![(place, item)])),
        }
    }
    groups
}

/// The answers to a batch whose parts are under way.
pub(crate) struct Batch<T, F> {
    answers: Vec<Option<Result<T, Fault>>>,
    parts: Vec<(Vec<usize>, F)>,
}

impl<T, F: Future<Output = Result<Vec<Result<T, Fault>>, Fault>>> Batch<T, F> {
    /// A batch of this many items.
    pub(crate) fn new(count: usize) -> Self {
        Self { answers: (0..count).map(|_| None).collect(), parts: Vec::new() }
    }

    /// Answers the item at this place.
    pub(crate) fn answer(&mut self, place: usize, answer: T) {
        self.answers[place] = Some(Ok(answer));
    }

    /// Leaves the answers for the items at these places to a part.
    pub(crate) fn wait_for(&mut self, places: Vec<usize>, part: F) {
        self.parts.push((places, part));
    }

    /// Waits for all parts. The answers stand in the order of the items.
    pub(crate) async fn answers(self) -> Vec<Result<T, Fault>> {
        let mut answers = self.answers;
        for (places, part) in self.parts {
            match part.await {
                Ok(part) => {
                    assert_eq!(places.len(), part.len(), "each item of a part has its answer");
                    zip(places, part).for_each(|(place, answer)| answers[place] = Some(answer));
                }
                Err(fault) => places.into_iter().for_each(|place| answers[place] = Some(Err(fault.clone()))),
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.expect("each item is answered or part of something"))
            .collect()
    }
}
