//! How much memory bodies from strangers may take, of all requests together.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Refusal, Result};

/// What is left for bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

impl BodyBudget {
    /// Room for so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))))
    }

    /// The part of one request, which has nothing yet and gives all back when it is dropped.
    pub(crate) fn share(&self) -> BodyShare {
        BodyShare { budget: Arc::clone(&self.0), taken: Mutex::default() }
    }
}

/// What one body takes of a [`BodyBudget`].
#[derive(Debug)]
pub(crate) struct BodyShare {
    budget: Arc<Semaphore>,
    taken: Mutex<Option<OwnedSemaphorePermit>>,
}

impl BodyShare {
    /// Takes room for bytes that have come. What has not come takes none, so that who is slow holds little.
    ///
    /// # Errors
    /// 503 `overloaded` where there is none.
    pub(crate) fn take(&self, bytes: usize) -> Result<()> {
        let count = u32::try_from(bytes).map_err(|_| Refusal::bare(Kind::Overloaded))?;
        let permit = Arc::clone(&self.budget).try_acquire_many_owned(count);
        let permit = permit.map_err(|_| Refusal::bare(Kind::Overloaded))?;
        let mut taken = self.taken.lock().expect("nothing panics while it is held");
        match &mut *taken {
            Some(known) => known.merge(permit),
            None => *taken = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_body_holds_another_cannot_have_until_it_is_gone() {
        let budget = BodyBudget::new(10);
        let (one, other) = (budget.share(), budget.share());
        one.take(4).unwrap();
        one.take(4).unwrap();
        assert_eq!(other.take(3).unwrap_err().kind, Kind::Overloaded);
        other.take(2).unwrap();
        drop(one);
        other.take(8).unwrap();
    }
}
