//! The end of tenants: access ends at once, and a job removes everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use harbor_model::chance::Rng;
use harbor_model::id::{JobId, TenantId};
use harbor_model::job::{Job, JobCounts, JobStatus, Task};
use harbor_model::port::Fault;
use harbor_model::port::registry::{Change, Tenants};
use harbor_model::time::{Clock, Timestamp};

/// Says why a tenant is not deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeleteRefusal {
    /// There is no such tenant, or it is deleted already.
    #[error("the tenant does not exist")]
    NotFound,
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Deletes tenants.
#[derive(Clone)]
pub struct TenantRemoval {
    /// Keeps them.
    pub tenants: Arc<dyn Tenants>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub rng: Arc<dyn Rng>,
}

impl TenantRemoval {
    /// Ends all access of a tenant at once. Answers the job that purges it.
    ///
    /// # Errors
    /// There is no such tenant.
    pub async fn delete(&self, id: &TenantId) -> Result<Job, DeleteRefusal> {
        let now = self.clock.now();
        let job = pending(JobId::new(now, &*self.rng), id.clone(), Task::Purge, now);
        match self.tenants.delete_tenant(id, job).await? {
            Change::Done(job) => Ok(job),
            Change::Missing => Err(DeleteRefusal::NotFound),
            Change::Conflict | Change::Exists | Change::TooMany => {
                Err(Fault::bare("the store did not take the job that purges a tenant").into())
            }
        }
    }
}

/// A job that nothing is done of yet.
pub(crate) fn pending(id: JobId, tenant_id: TenantId, task: Task, now: Timestamp) -> Job {
    Job {
        id,
        tenant_id,
        task,
        status: JobStatus::Pending,
        counts: JobCounts::default(),
        removed: BTreeMap::new(),
        error: None,
        place: Vec::new(),
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

#[cfg(test)]
mod tests;
