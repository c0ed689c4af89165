//! Bugs that are planted, to see whether the simulator finds them.

use std::sync::Arc;

use harbor_model::port::deliveries::Deliveries;
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::Handoff;
use harbor_model::port::intake::Intake;
use harbor_model::time::Clock;

/// Puts something in place of parts of the engine's surroundings. The engine itself stays as it is.
pub trait Plant: Send + Sync {
    /// The clock of a worker.
    fn clock(&self, real: Arc<dyn Clock>) -> Arc<dyn Clock> {
        real
    }

    /// Where a worker leases and records. All workers of a run share one.
    fn deliveries(&self, real: Arc<dyn Deliveries>) -> Arc<dyn Deliveries> {
        real
    }

    /// Where a publisher stores, with the worker that it hands over to.
    fn intake(
        &self,
        real: Arc<dyn Intake>,
        _handoff: Arc<dyn Handoff>,
        _directory: Arc<dyn Directory>,
    ) -> Arc<dyn Intake> {
        real
    }
}

/// Nothing is planted.
#[derive(Clone, Copy, Debug)]
pub struct NoPlant;

impl Plant for NoPlant {}
