//! Of a tenant that was purged nothing can be found in the store's files.

use std::path::Path;

use bytes::Bytes;
use harbor_model::attempt::Attempt;
use harbor_model::chance::Rng;
use harbor_model::decide::retry::Next;
use harbor_model::delivery::Cause;
use harbor_model::endpoint::Endpoint;
use harbor_model::id::TenantId;
use harbor_model::job::{JobStatus, Task};
use harbor_model::port::deliveries::AttemptResult;
use harbor_model::port::history::{EventFilter, History};
use harbor_model::port::jobs::{JobSteps, Stepped};
use harbor_model::port::registry::Tenants;
use harbor_model::port::sources::{Refused, Rejections};
use harbor_model::port::upkeep::Upkeep;
use harbor_model::source::{Rejected, Source};
use rusqlite::Connection;

use crate::Store as _;
use crate::conformance::world::{ALL, DAY, World, done};
use crate::sqlite::SqliteStore;
use crate::sqlite::tests::{DATABASE, in_directory};

/// As many bytes, of which each few say whose they are.
fn marked(mark: &str, len: usize) -> Bytes {
    mark.bytes().cycle().take(len).collect()
}

/// The marks of what a tenant had published, of what it was answered, and of what its source refused.
struct Marks {
    payload: &'static str,
    answer: &'static str,
    refused: &'static str,
}

const PURGED: Marks =
    Marks { payload: "<purged-payload>", answer: "<purged-answer>", refused: "<purged-refused>" };
const KEPT: Marks = Marks { payload: "<kept-payload>", answer: "<kept-answer>", refused: "<kept-refused>" };

/// How many bytes payloads and answers have: such as fit into a cell, such as fill a page, and such as go over
/// many.
const SIZES: [usize; 8] = [20, 90, 400, 1_900, 5_000, 8_150, 30_000, 120_000];

/// Publishes an event of a tenant, which is tried once or twice, and ends, or does not.
async fn happen(world: &World<SqliteStore>, endpoint: &Endpoint, marks: &Marks) {
    let chance = |count: u64| world.rng.next_u64() % count;
    let size = SIZES[usize::try_from(chance(SIZES.len() as u64)).unwrap()];
    let draft = world.event(&endpoint.tenant_id, &[endpoint]).leased_to(world.worker().await);
    let mut lease = world.stored(draft.payload(&marked(marks.payload, size))).await.remove(0);
    loop {
        let next = match chance(8) {
            // It stays open.
            0 => return drop(lease),
            1 => Next::Dead(Cause::AttemptsExhausted),
            2..=4 => Next::RetryAt(world.now()),
            _ => Next::Delivered,
        };
        let size = SIZES[usize::try_from(chance(6)).unwrap()];
        let attempt = Attempt { response_body: marked(marks.answer, size), ..world.attempt(500) };
        let id = lease.delivery.delivery_id;
        let result = AttemptResult { attempt: Some(attempt), ..world.result(lease, 500, next) };
        world.record(result).await;
        if !matches!(next, Next::RetryAt(_)) {
            return;
        }
        let due = world.lease(world.worker().await, endpoint, 1_000).await;
        let Some(again) = due.into_iter().find(|lease| lease.delivery.delivery_id == id) else { return };
        lease = again;
    }
}

/// Has a source refuse a few requests, of which older ones go.
async fn refuse(world: &World<SqliteStore>, source: &Source, marks: &Marks) {
    let newest = SIZES[..5].iter().map(|size| Rejected {
        message: marked(marks.refused, 200).escape_ascii().to_string(),
        signed_text: Some(marked(marks.refused, *size).to_vec()),
        ..world.rejected(source)
    });
    let newest = newest.collect();
    let refused = Refused { tenant_id: source.tenant_id.clone(), source_id: source.id, count: 5, newest };
    world.store.note_rejections(vec![refused]).await.unwrap();
}

/// In which files of a directory a text stands.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(file.file_name().into_string().unwrap());
        }
    }
    found
}

async fn purge(world: &World<SqliteStore>, tenant: &TenantId) {
    let mut job = done(world.store.delete_tenant(tenant, world.new_job(tenant, Task::Purge)).await.unwrap());
    while job.status != JobStatus::Done {
        match world.store.purge_batch(&job, 100, world.now()).await.unwrap() {
            Stepped::Made { job: next, .. } => job = next,
            Stepped::Stale => panic!("nobody else purges"),
        }
    }
}

async fn payloads_of(world: &World<SqliteStore>, tenant: &TenantId) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    for event in world.store.events(tenant, EventFilter::default(), ALL).await.unwrap().items {
        let event = world.store.find_event(tenant, event.id).await.unwrap().unwrap();
        payloads.push(event.body.payload.clone());
    }
    payloads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_purged_tenant_is_left_in_any_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let world = in_directory(directory).await;
    let (purged, kept) = (world.tenant("purged").await, world.tenant("kept").await);
    let (of_purged, of_kept) = (world.endpoint(&purged).await, world.endpoint(&kept).await);
    let (from_purged, from_kept) = (world.source(&purged).await, world.source(&kept).await);
    let publish = async |count: usize| {
        for number in 0..count {
            happen(&world, &of_purged, &PURGED).await;
            if number.is_multiple_of(10) {
                refuse(&world, &from_purged, &PURGED).await;
                refuse(&world, &from_kept, &KEPT).await;
            }
            if world.rng.next_u64().is_multiple_of(3) {
                happen(&world, &of_kept, &KEPT).await;
            }
        }
    };
    // Some of it goes by retention before, so that pages were freed, merged and used again.
    publish(300).await;
    world.clock.advance(DAY * 31);
    publish(100).await;
    let mut swept = 0;
    for _ in 0..20 {
        swept += world.store.sweep(world.now(), 200).await.unwrap();
    }
    assert!(swept > 100, "{swept} rows were swept");
    publish(300).await;
    let of_purged_and_kept = [&PURGED, &KEPT].map(|marks| [marks.payload, marks.answer, marks.refused]);
    for mark in of_purged_and_kept.as_flattened() {
        assert!(!files_with(&path, mark).is_empty(), "{mark} can be found");
    }

    let before = payloads_of(&world, &kept).await;
    assert!(!before.is_empty());
    purge(&world, &purged).await;
    let nothing_is_left = || {
        for mark in ["purged-payload", "purged-answer", "purged-refused"] {
            assert_eq!(files_with(&path, mark), [""; 0], "{mark} is left");
        }
    };
    nothing_is_left();
    assert_eq!(payloads_of(&world, &kept).await, before);

    // Nor does it come back from what the store keeps in memory.
    for _ in 0..100 {
        happen(&world, &of_kept, &KEPT).await;
    }
    world.store.close().await;
    nothing_is_left();
    let conn = Connection::open(path.join(DATABASE)).unwrap();
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}
