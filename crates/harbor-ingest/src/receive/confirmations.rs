//! Asks whether the directory in memory is still the one of the store, before somebody is refused by it.
//!
//! Other processes change sources too, and word of it comes a moment later. A provider must not be turned away in
//! that moment, nor may forgers make the store busy: however many ask at once, the answer to one of them that was
//! asked for after they came serves them all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::port::directory::Directory;

/// The most tenants that are kept in mind.
const TENANTS_MAX: usize = 10_000;

/// Questions about each tenant's directory.
#[derive(Default)]
pub(super) struct Confirmations(Mutex<HashMap<TenantId, Arc<Turnstile>>>);

/// Lets one ask at a time.
#[derive(Default)]
struct Turnstile {
    /// How many have come.
    came: AtomicU64,
    /// The last one that an answer serves.
    served: tokio::sync::Mutex<u64>,
}

impl Confirmations {
    /// Makes sure that the directory knows of every change that was made before this was called.
    pub(super) async fn confirm(&self, directory: &dyn Directory, tenant: &TenantId) -> Result<(), Fault> {
        let turnstile = self.turnstile(tenant);
        let ticket = turnstile.came.fetch_add(1, Ordering::AcqRel) + 1;
        let mut served = turnstile.served.lock().await;
        if *served >= ticket {
            return Ok(());
        }
        let all_that_came = turnstile.came.load(Ordering::Acquire);
        directory.confirm(tenant).await?;
        *served = all_that_came;
        Ok(())
    }

    fn turnstile(&self, tenant: &TenantId) -> Arc<Turnstile> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TENANTS_MAX {
            // Nobody waits at those that only this map holds.
            known.retain(|_, turnstile| Arc::strong_count(turnstile) > 1);
        }
        Arc::clone(known.entry(tenant.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use harbor_model::directory::TenantSnapshot;

    use super::*;

    /// A directory that takes its time, and counts how often it was asked.
    #[derive(Default)]
    struct Slow(AtomicU64);

    #[async_trait]
    impl Directory for Slow {
        async fn tenant(&self, _: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
            Ok(None)
        }

        fn observe(&self, _: &TenantId, _: u64) {}

        async fn confirm(&self, _: &TenantId) -> Result<(), Fault> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_answer_serves_all_who_came_before_it_was_asked_for() {
        let (directory, confirmations) = (Slow::default(), Confirmations::default());
        let tenant: TenantId = "shop".parse().unwrap();
        let ask = || confirmations.confirm(&directory, &tenant);
        let many = async {
            let (a, b, c, d, e) = tokio::join!(ask(), ask(), ask(), ask(), ask());
            [a, b, c, d, e].into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        };
        many.await;
        let asked = directory.0.load(Ordering::Relaxed);
        assert!((1..=2).contains(&asked), "{asked}");
        ask().await.unwrap();
        assert_eq!(
            directory.0.load(Ordering::Relaxed),
            asked + 1,
            "an old answer serves nobody who comes later"
        );
    }
}
