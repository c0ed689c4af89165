//! Which of several processes does what one does at a time.
//!
//! The holder confirms itself again and again; whoever sees the same confirmation for long enough by its
//! own clock takes over. Nothing depends on there being only one at every moment: what the leader does is
//! safe to do twice, and done once it is cheaper.

use std::sync::Arc;
use std::time::Duration;

use harbor_model::id::WorkerId;
use harbor_model::port::workers::{Leader, Workers};
use harbor_model::time::Clock;
use tracing::{info, warn};

/// How patient holders and candidates of a task are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often the holder confirms itself, and the others look.
    pub confirm_interval: Duration,
    /// A holder that was not confirmed for so long does nothing more.
    pub fence_after: Duration,
    /// A holder whose confirmation stands still for so long is followed by another.
    pub outlived_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            confirm_interval: Duration::from_secs(5),
            fence_after: Duration::from_secs(15),
            outlived_after: Duration::from_secs(20),
        }
    }
}

impl Settings {
    /// Says what cannot work.
    ///
    /// # Errors
    /// A holder would be followed before it rests, or rest before it could confirm itself.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.confirm_interval.is_zero() || self.confirm_interval >= self.fence_after {
            return Err("confirm_interval must be more than zero and less than fence_after");
        }
        if self.fence_after >= self.outlived_after {
            return Err("fence_after must be less than outlived_after");
        }
        Ok(())
    }
}

/// A candidate for a task.
pub struct Leadership {
    workers: Arc<dyn Workers>,
    clock: Arc<dyn Clock>,
    candidate: WorkerId,
    task: &'static str,
    settings: Settings,
    /// When the store was asked last.
    asked_at: Option<Duration>,
    /// When this candidate was confirmed last.
    confirmed_at: Option<Duration>,
    /// What was seen of another holder, and since when it has not changed.
    seen: Option<(Leader, Duration)>,
}

impl Leadership {
    /// A candidate that has asked nothing yet.
    pub fn new(
        workers: Arc<dyn Workers>,
        clock: Arc<dyn Clock>,
        candidate: WorkerId,
        task: &'static str,
        settings: Settings,
    ) -> Self {
        Self { workers, clock, candidate, task, settings, asked_at: None, confirmed_at: None, seen: None }
    }

    /// Whether the task is this candidate's now. Asks the store where it is time to.
    pub async fn is_mine(&mut self) -> bool {
        let now = self.clock.elapsed();
        if self.asked_at.is_none_or(|asked_at| now.saturating_sub(asked_at) >= self.settings.confirm_interval)
        {
            self.asked_at = Some(now);
            self.ask(now).await;
        }
        self.confirmed_at
            .is_some_and(|at| self.clock.elapsed().saturating_sub(at) < self.settings.fence_after)
    }

    async fn ask(&mut self, now: Duration) {
        let outlived =
            self.seen.filter(|(_, since)| now.saturating_sub(*since) >= self.settings.outlived_after);
        let outlived = outlived.map(|(leader, _)| leader);
        match self.workers.lead(self.task, self.candidate, outlived).await {
            Ok(leader) if leader.worker == self.candidate => {
                if self.confirmed_at.is_none() {
                    info!(task = self.task, "this process has the task {}", self.task);
                }
                self.confirmed_at = Some(now);
                self.seen = None;
            }
            Ok(leader) => {
                self.confirmed_at = None;
                if self.seen.is_none_or(|(seen, _)| seen != leader) {
                    self.seen = Some((leader, now));
                }
            }
            Err(fault) => {
                // What could not be seen may have changed: the watch begins anew.
                self.seen = None;
                warn!(task = self.task, %fault, "cannot ask who has the task {}: {fault}", self.task);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
