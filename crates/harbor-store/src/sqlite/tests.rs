//! What is SQLite's own. What every store does is in the conformance suite, which runs here twice.

mod lanes;
mod plans;
mod purge;
mod retention;
mod turns;

use std::future::ready;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harbor_model::chance::SeededRng;
use harbor_model::port::deliveries::Deliveries;
use harbor_model::port::history::{DeliveryFilter, EventFilter, History};
use harbor_model::port::intake::{Intake, Published};
use harbor_model::port::observer::NoObserver;
use harbor_model::port::registry::{Endpoints, Tenants};
use rusqlite::Connection;

use crate::Store as _;
use crate::conformance::World;
use crate::conformance::world::{ALL, SetClock};
use crate::seal::MasterKey;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::{OpenError, Settings, SqliteStore, migrate};

mod conformance_inline {
    use super::*;

    crate::conformance!(|| World::new(async |clock, rng| {
        let key = MasterKey::from_bytes([7; 32]);
        let open = SqliteStore::open(Settings::in_memory(), key, clock, rng, Arc::new(NoObserver));
        (open.unwrap(), ())
    }));
}

mod conformance_threaded {
    use super::*;

    crate::conformance!(|| in_directory(tempfile::tempdir().unwrap()));
}

/// A world around a store in this directory, which is removed with it.
async fn in_directory(directory: tempfile::TempDir) -> World<SqliteStore> {
    let path = directory.path().to_owned();
    let open = |directory: &Path, clock, rng| {
        let settings = Settings { path: Some(directory.join(DATABASE)), ..Settings::default() };
        let key = MasterKey::from_bytes([7; 32]);
        SqliteStore::open(settings, key, clock, rng, Arc::new(NoObserver)).unwrap()
    };
    let world = World::new(async |clock, rng| (open(directory.path(), clock, rng), directory)).await;
    // A store keeps its directory for itself until nobody has it any more, so that the next one gets a copy of
    // what it left: one file, once it is closed.
    let latest = Mutex::new(path);
    world.reopened_by(move |clock, rng| {
        let mut latest = latest.lock().unwrap();
        let next = latest.join("again");
        std::fs::create_dir(&next).unwrap();
        std::fs::copy(latest.join(DATABASE), next.join(DATABASE)).unwrap();
        let store = open(&next, clock, rng);
        *latest = next;
        Box::pin(ready(store))
    })
}

fn open_with(directory: &Path, key: [u8; 32]) -> Result<Arc<SqliteStore>, OpenError> {
    let settings = Settings { path: Some(directory.join(DATABASE)), ..Settings::default() };
    let clock = Arc::new(SetClock::default());
    let key = MasterKey::from_bytes(key);
    SqliteStore::open(settings, key, clock, Arc::new(SeededRng::new(9)), Arc::new(NoObserver))
}

fn open(directory: &Path) -> Result<Arc<SqliteStore>, OpenError> {
    open_with(directory, [7; 32])
}

const DATABASE: &str = "harborhook.db";

/// Copies a store as a crash would leave it: everything that is on the disk, and no more.
fn copy(from: &Path, to: &Path) {
    for name in [DATABASE, "harborhook.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_answered_survives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let world = in_directory(directory).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let after_crash = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..5 {
        for _ in 0..40 {
            expected.push(world.owed(&endpoint).await);
        }
        copy(&path, after_crash.path());
        let survivor = open(after_crash.path()).unwrap();
        let found = survivor.deliveries(&tenant, DeliveryFilter::default(), ALL).await.unwrap().items;
        let mut ids: Vec<_> = found.iter().map(|delivery| delivery.id).collect();
        ids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ids, expected, "round {round}");
        let events = survivor.events(&tenant, EventFilter::default(), ALL).await.unwrap().items;
        assert_eq!(events.len(), expected.len());
        survivor.close().await;
    }
}

#[tokio::test]
async fn what_was_leased_is_free_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let world = in_directory(directory).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;
    let _held = world.lease_one(&endpoint).await;

    let after_crash = tempfile::tempdir().unwrap();
    copy(&path, after_crash.path());
    let again = World::new(async |_, _| (open(after_crash.path()).unwrap(), ())).await;
    again.lease_one(&endpoint).await;
}

#[tokio::test]
async fn a_store_that_works_inline_keeps_a_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let settings = Settings { path: Some(path.join(DATABASE)), inline: true, ..Settings::default() };
    let world = World::new(async |clock, rng| {
        let key = MasterKey::from_bytes([7; 32]);
        (SqliteStore::open(settings, key, clock, rng, Arc::new(NoObserver)).unwrap(), ())
    })
    .await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.delivered(&endpoint).await;
    drop(world);
    let again = World::new(async |_, _| (open(&path).unwrap(), ())).await;
    assert_eq!(again.shown(&tenant, id).await, "delivered [200]");
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_refuses_work() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let world = in_directory(directory).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.delivered(&endpoint).await;
    world.store.close().await;

    let left = std::fs::metadata(path.join("harborhook.db-wal")).map_or(0, |file| file.len());
    assert_eq!(left, 0);
    assert!(world.store.check().await.is_err());
    let late = world.store.create_tenant(world.new_tenant("late")).await;
    assert_eq!(late.unwrap_err().to_string(), "write: the store is closed");

    drop(world.store.clone());
    let copied = tempfile::tempdir().unwrap();
    std::fs::copy(path.join(DATABASE), copied.path().join(DATABASE)).unwrap();
    let again = World::new(async |_, _| (open(copied.path()).unwrap(), ())).await;
    assert_eq!(again.shown(&tenant, id).await, "delivered [200]");
    assert_eq!(again.store.find_endpoint(&tenant, endpoint.id).await.unwrap(), Some(endpoint));
    again.store.check().await.unwrap();
}

#[test]
fn one_process_at_a_time_has_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    let refused = open(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    assert!(refused.to_string().contains("harborhook.lock"), "{refused}");
    assert!(matches!(migrate(&directory.path().join(DATABASE)), Err(OpenError::Locked { .. })));
    drop(first);
    open(directory.path()).unwrap();
}

#[test]
fn another_master_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let refused = open_with(directory.path(), [8; 32]).unwrap_err();
    assert!(matches!(refused, OpenError::WrongMasterKey), "{refused:?}");
    open(directory.path()).unwrap();
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let conn = Connection::open(directory.path().join(DATABASE)).unwrap();
    let sql = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
               VALUES (999, 'later', '2030-01-01T00:00:00Z', '1')";
    conn.execute(sql, []).unwrap();
    let refused = open(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 999, .. }), "{refused:?}");
}

#[test]
fn migrating_reports_what_was_applied_and_has_nothing_to_do_the_second_time() {
    let directory = tempfile::tempdir().unwrap();
    let applied = migrate(&directory.path().join(DATABASE)).unwrap();
    assert!(applied.iter().any(|name| name.contains("first")), "{applied:?}");
    assert_eq!(migrate(&directory.path().join(DATABASE)).unwrap(), [""; 0]);
    open(directory.path()).unwrap();
}

#[test]
fn who_subscribed_to_operational_events_before_notices_were_written_gets_them() {
    let conn = Connection::open_in_memory().unwrap();
    for migration in [include_str!("migrations/V1__first.sql"), include_str!("migrations/V2__breakers.sql")] {
        conn.execute_batch(migration).unwrap();
    }
    let patterns = ["*", "harborhook.*", "harborhooks.paid", "harborhook.delivery.dead", "harborhook-x"];
    for (number, pattern) in patterns.iter().enumerate() {
        let tenant = "INSERT INTO tenants VALUES (?1, ?1, '', '{}', 1, 1, 0, 0, 0, NULL)";
        conn.execute(tenant, [number]).unwrap();
        let subscription = "INSERT INTO subscriptions VALUES (?1, x'00', x'00', ?2, 1, 0, 0)";
        conn.execute(subscription, (number, pattern)).unwrap();
    }
    conn.execute_batch(include_str!("migrations/V3__operators.sql")).unwrap();
    let mut query = conn.prepare("SELECT watched FROM tenants ORDER BY number").unwrap();
    let watched: Vec<bool> = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(watched, [false, true, false, true, false]);
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_may_read_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let store = open(&directory).unwrap();
    store.check().await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for file in std::fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn secrets_lie_in_no_file_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let world = in_directory(directory).await;
    let tenant = world.tenant("acme").await;
    let (endpoint, source) = (world.endpoint(&tenant).await, world.source(&tenant).await);
    let is_in_files = |text: &str| {
        std::fs::read_dir(&path).unwrap().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    };
    assert!(is_in_files(endpoint.url.as_str()), "what is not secret can be found");
    for secret in &endpoint.secrets {
        assert!(!is_in_files(secret.secret.expose()));
    }
    assert!(!is_in_files(endpoint.headers[0].value.expose()));
    assert!(is_in_files(source.options.template.as_ref().unwrap()), "what is not secret can be found");
    for secret in &source.secrets {
        assert!(!is_in_files(secret.secret.expose()));
    }
    assert!(!is_in_files(source.options.verify_token.as_ref().unwrap().expose()));
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let world = in_directory(directory).await;
    let clock = world.clock.clone();
    let endless = move |conn: &Connection| {
        let mut query = conn.prepare(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0",
        )?;
        clock.advance(Duration::from_millis(499));
        let soon = clock.clone();
        let passing = std::thread::spawn(move || soon.advance(Duration::from_millis(2)));
        let found = query.exists([]);
        passing.join().unwrap();
        found.map_err(Trouble::from)
    };
    let fault = world.store.database.read(endless).await.unwrap_err();
    assert_eq!(fault.to_string(), "read: the read took too long");
    // The connection goes on to serve.
    for _ in 0..8 {
        world.store.check().await.unwrap();
    }
}

#[tokio::test]
async fn a_read_that_panics_does_not_cost_its_connection() {
    let world = in_directory(tempfile::tempdir().unwrap()).await;
    for _ in 0..8 {
        let fault = world.store.database.read(|_| -> Result<(), Trouble> { panic!("a bug") }).await;
        assert!(fault.is_err());
    }
    world.store.check().await.unwrap();
}

#[tokio::test]
async fn the_log_is_copied_beside_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let settings = Settings {
        path: Some(path.join(DATABASE)),
        wal_passive_bytes: 64 << 10,
        wal_restart_bytes: 256 << 10,
        ..Settings::default()
    };
    let world = World::new(async |clock, rng| {
        let key = MasterKey::from_bytes([7; 32]);
        let open = SqliteStore::open(settings, key, clock, rng, Arc::new(NoObserver));
        (open.unwrap(), directory)
    })
    .await;
    let tenant = world.tenant("acme").await;
    let header = || std::fs::read(path.join("harborhook.db-wal")).unwrap()[..32].to_vec();
    let first = header();
    let mut published = 0;
    // The log gets a new header when it begins anew.
    while header() == first {
        world.stored(world.event(&tenant, &[]).payload(&[7; 20_000])).await;
        published += 1;
        assert!(published < 10_000, "the log only grows");
    }
}

#[tokio::test]
async fn an_event_that_sqlite_refuses_fails_alone() {
    let world = in_directory(tempfile::tempdir().unwrap()).await;
    let tenant = world.tenant("acme").await;
    let (good, better) = (world.event(&tenant, &[]), world.event(&tenant, &[]));
    let twice = world.event(&tenant, &[]);
    let id = twice.id();
    world.stored(twice).await;
    let mut bad = world.event(&tenant, &[]);
    Arc::get_mut(&mut bad.0.body).unwrap().id = id;

    let answers = world.store.publish(vec![good.0, bad.0, better.0]).await;
    assert!(matches!(answers[0], Ok(Published::Stored { .. })), "{answers:?}");
    assert!(answers[1].is_err(), "{answers:?}");
    assert!(matches!(answers[2], Ok(Published::Stored { .. })), "{answers:?}");
}

#[tokio::test]
async fn a_result_that_cannot_be_recorded_at_all_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(DATABASE);
    let world = in_directory(directory).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;
    // A count that no policy allows makes the step that records it panic.
    let conn = Connection::open(path).unwrap();
    assert_eq!(conn.execute("UPDATE deliveries SET attempt_count = 65535", []).unwrap(), 1);
    let lease = world.lease_one(&endpoint).await;
    let worker = lease.key().worker;

    let next = harbor_model::decide::retry::Next::Delivered;
    let answer = world.store.finish(vec![world.result(lease, 200, next)]).await.remove(0);
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(world.store.leases_of(worker).await.unwrap(), []);
    world.lease_one(&endpoint).await;
}

#[tokio::test]
async fn a_delivery_that_sqlite_refuses_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(DATABASE);
    let world = in_directory(directory).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (first, second) = (world.owed(&endpoint).await, world.owed(&endpoint).await);
    let worker = world.worker().await;
    let mut leases = world.lease(worker, &endpoint, 2).await;
    leases.sort_unstable_by_key(|lease| lease.delivery.delivery_id != first);
    let next = harbor_model::decide::retry::Next::RetryAt(world.now());
    let good = world.result(leases.remove(0), 500, next);
    let mut bad = world.result(leases.remove(0), 500, next);
    // An attempt that is on record already.
    let recorded = world.attempt(500);
    let lease = bad.lease.key().clone();
    bad.attempt = Some(recorded.clone());
    let conn = Connection::open(path).unwrap();
    let sql = "INSERT INTO attempts (tenant, delivery_id, id, started_at, latency_us)
               SELECT tenant, id, ?2, 0, 0 FROM deliveries WHERE id = ?1";
    let ids = (lease.delivery_id.number().to_be_bytes(), recorded.id.number().to_be_bytes());
    assert_eq!(conn.execute(sql, ids).unwrap(), 1);

    let answers = world.store.finish(vec![bad, good]).await;
    assert!(answers[0].is_err(), "{answers:?}");
    assert!(answers[1].is_ok(), "{answers:?}");
    let shown = world.read(&tenant, second).await.delivery;
    assert_eq!((shown.status.as_str(), shown.attempt_count), ("queued", 0));
    assert_eq!(world.lease(worker, &endpoint, 9).await.len(), 2, "both are due again");
}
