use std::sync::Mutex;

use async_trait::async_trait;
use harbor_model::chance::SeededRng;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::tenant::Tenant;

use super::*;
use crate::fakes::{SkippingClock, T0};

/// Answers a deletion as it is told, with the job that it was given where that is none.
#[derive(Default)]
struct Register(Mutex<Option<Change<Job>>>);

#[async_trait]
impl Tenants for Register {
    async fn create_tenant(&self, _: Tenant) -> Result<Change<Tenant>, Fault> {
        unreachable!("nothing is made here")
    }

    async fn find_tenant(&self, _: &TenantId) -> Result<Option<Tenant>, Fault> {
        unreachable!("nothing is read here")
    }

    async fn tenants(&self, _: PageAsk) -> Result<Page<Tenant>, Fault> {
        unreachable!("nothing is read here")
    }

    async fn update_tenant(&self, _: Tenant) -> Result<Change<Tenant>, Fault> {
        unreachable!("nothing is changed here")
    }

    async fn delete_tenant(&self, id: &TenantId, job: Job) -> Result<Change<Job>, Fault> {
        assert_eq!(*id, job.tenant_id);
        Ok(self.0.lock().unwrap().take().unwrap_or(Change::Done(job)))
    }
}

fn removal(answer: Option<Change<Job>>) -> TenantRemoval {
    TenantRemoval {
        tenants: Arc::new(Register(Mutex::new(answer))),
        clock: Arc::new(SkippingClock::default()),
        rng: Arc::new(SeededRng::new(1)),
    }
}

#[tokio::test]
async fn a_tenant_ends_with_a_job_that_purges_it() {
    let id: TenantId = "acme".parse().unwrap();
    let job = removal(None).delete(&id).await.unwrap();
    assert_eq!((job.task, job.status, job.created_at), (Task::Purge, JobStatus::Pending, T0));

    let refusal = removal(Some(Change::Missing)).delete(&id).await.unwrap_err();
    assert!(matches!(refusal, DeleteRefusal::NotFound));
}
