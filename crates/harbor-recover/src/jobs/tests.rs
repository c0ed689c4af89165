use std::collections::BTreeMap;
use std::num::NonZero;

use harbor_model::chance::SeededRng;
use harbor_model::id::DeliveryId;
use harbor_model::job::JobCounts;

use super::*;
use crate::fakes::{JobShelf, SkippingClock, T0};

fn tenant() -> TenantId {
    "tn_a".parse().unwrap()
}

fn jobs() -> (Jobs, Arc<JobShelf>) {
    let shelf = Arc::new(JobShelf::default());
    let deps = Deps {
        jobs: shelf.clone(),
        clock: Arc::new(SkippingClock::default()),
        rng: Arc::new(SeededRng::new(1)),
    };
    (Jobs::new(deps, Settings::default()), shelf)
}

fn request() -> ReplayJobRequest {
    let ids = vec![DeliveryId::from_number(NonZero::<u128>::MIN.get())];
    ReplayJobRequest {
        delivery_ids: Some(ids),
        idempotency_key: Some("again".to_owned()),
        ..ReplayJobRequest::default()
    }
}

#[tokio::test]
async fn a_job_begins_pending_with_its_key_for_as_long_as_keys_are_kept() {
    let (jobs, shelf) = jobs();
    let started = jobs.start_replay(&tenant(), request()).await.unwrap();
    let [NewJob { job, idempotency }] = shelf.take_created().try_into().unwrap();
    assert_eq!(job, started);
    assert_eq!(
        (job.status, job.counts, job.removed),
        (JobStatus::Pending, JobCounts::default(), BTreeMap::new())
    );
    assert_eq!((job.created_at, job.id.made_at()), (T0, T0));
    let (key, _, until) = idempotency.unwrap();
    assert_eq!((key.as_str(), until), ("again", T0 + Duration::from_secs(7 * 24 * 60 * 60)));
}

#[tokio::test]
async fn every_refusal_of_the_store_is_told() {
    let (jobs, shelf) = jobs();
    for (answer, expected) in [
        (JobCreated::NoTenant, "the tenant does not exist"),
        (JobCreated::TooMany, "20 jobs are open already"),
        (JobCreated::KeyReused, "the idempotency key was used for another job"),
    ] {
        shelf.answer_creation(answer);
        let refusal = jobs.start_cancel(&tenant(), DeliveryFilter::default()).await.unwrap_err();
        assert_eq!(refusal.to_string(), expected);
    }
    let refusal = jobs.start_replay(&tenant(), ReplayJobRequest::default()).await.unwrap_err();
    assert!(matches!(refusal, StartRefusal::Invalid(fields) if fields[0].field == "delivery_ids"));
}

#[tokio::test]
async fn an_open_job_is_stopped_once_and_a_purge_never() {
    let (jobs, shelf) = jobs();
    let [cancel, purge] = [Task::Cancel(DeliveryFilter::default()), Task::Purge].map(|task| {
        let job = pending(JobId::new(T0, &SeededRng::new(task.kind() as u64)), tenant(), task, T0);
        shelf.add(job.clone(), 0);
        job.id
    });
    let check = async |id, kinds: &[JobKind], expected: Result<JobStatus, &str>| {
        let found = jobs.stop(&tenant(), kinds, id).await;
        let found = found.map(|job| job.status).map_err(|refusal| refusal.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    };
    check(cancel, &[JobKind::Replay], Err("the job does not exist")).await;
    check(cancel, &[JobKind::Cancel], Ok(JobStatus::Cancelled)).await;
    check(cancel, &[JobKind::Cancel], Err("the job has ended: it is cancelled")).await;
    check(purge, JobKind::ALL, Err("the job does not exist")).await;
}
