//! What is PostgreSQL's own. What every store does is in the conformance suite.

mod connections;
mod fresh;
mod holding;
mod ordering;
mod plans;
mod purging;
mod weeks;

use std::sync::Arc;
use std::time::Duration;

use harbor_model::decide::retry::Next;
use harbor_model::id::{DeliveryId, WorkerId};
use harbor_model::port::deliveries::{Deliveries, LeaseAsk};
use harbor_model::port::directory::Directory;
use harbor_model::port::history::{EventFilter, History};
use harbor_model::port::intake::{Intake, Published};
use harbor_model::port::registry::{Change, Endpoints, Tenants};
use harbor_model::port::sources::{Refused, Rejections, Sources};
use harbor_model::port::upkeep::{Replayed, Replays, Upkeep};
use harbor_model::port::workers::Workers;
use harbor_model::secret::Secret;
use harbor_model::source::{REJECTIONS_KEPT, Source};
use tokio::time::{sleep, timeout};
use url::Url;

use crate::Store;
use crate::conformance::World;
use crate::conformance::world::{ALL, DAY, done, key_of};
use crate::postgres::tests::fresh::{Database, connect, open, run, world, world_at};
use crate::postgres::{OpenError, PostgresStore, migrate};

mod conformance {
    use super::*;

    crate::conformance!(world);
}

/// Another process on the same database, by the same clock.
async fn beside(world: &World<PostgresStore>, url: &Url) -> Arc<PostgresStore> {
    open(url, [7; 32], world.clock.clone()).await.unwrap()
}

/// Waits until something holds that another process or task sees to.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Ends every connection to the database but those that do so.
async fn disconnect_all(url: &Url) {
    let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    run(url, all).await.unwrap();
}

#[tokio::test]
async fn what_one_process_changes_the_others_obey() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let is_paused =
        async || other.tenant(&tenant).await.unwrap().unwrap().endpoints[&endpoint.id].endpoint.paused;
    assert!(!is_paused().await);
    world.change(&endpoint, |now| now.paused = true).await;
    eventually("the other process sees the pause", is_paused).await;
    other.close().await;
}

#[tokio::test]
async fn what_was_changed_while_nobody_heard_is_obeyed_too() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    assert!(other.tenant(&tenant).await.unwrap().is_some());
    disconnect_all(&url).await;
    // Past every store.
    let change = "UPDATE harborhook.endpoints SET paused = true; \
                  UPDATE harborhook.tenants SET directory_version = directory_version + 1";
    run(&url, change).await.unwrap();
    eventually("the pause is seen", async || {
        let snapshot = other.tenant(&tenant).await;
        snapshot.is_ok_and(|found| found.unwrap().endpoints[&endpoint.id].endpoint.paused)
    })
    .await;
    other.close().await;
}

#[tokio::test]
async fn a_publish_wakes_the_other_processes() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut hints = other.hints();
    hints.mark_unchanged();
    eventually("the other process is woken", async || {
        // Again, since it may not listen yet.
        world.owed(&endpoint).await;
        timeout(Duration::from_millis(200), hints.changed()).await.is_ok()
    })
    .await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_lease_at_once_get_different_deliveries() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..60 {
        world.owed(&endpoint).await;
    }
    let (one, two) = (world.worker().await, world.worker().await);
    let mut held = Vec::new();
    for _ in 0..6 {
        let ask = || vec![LeaseAsk { key: key_of(&endpoint), count: 5 }];
        let (ours, theirs) =
            tokio::join!(world.store.lease(one, world.now(), ask()), other.lease(two, world.now(), ask()));
        held.extend(ours.unwrap());
        held.extend(theirs.unwrap());
    }
    let mut ids: Vec<DeliveryId> = held.iter().map(|lease| lease.delivery.delivery_id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "none was lent twice");
    // Who finds a row locked passes it over, so that some may be left for a later round.
    while ids.len() < 60 {
        let lent = world.lease(one, &endpoint, 60).await;
        assert!(!lent.is_empty(), "what is due is lent");
        ids.extend(lent.iter().map(|lease| lease.delivery.delivery_id));
        held.extend(lent);
    }
    drop(held);
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_replays_at_once_one_is_made() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..5 {
        let dead = world.dead(&endpoint).await;
        let ask = || world.new_replay(&tenant, dead);
        let (a, b, c) =
            tokio::join!(world.store.replay(ask()), other.replay(ask()), world.store.replay(ask()));
        let answers = [a.unwrap(), b.unwrap(), c.unwrap()];
        let made = answers.iter().filter(|answer| matches!(answer, Replayed::Made(_))).count();
        let open = answers.iter().filter(|answer| matches!(answer, Replayed::Open { .. })).count();
        assert_eq!((made, open), (1, 2), "{answers:?}");
        let lease = world.lease_one(&endpoint).await;
        world.finish(lease, 200, Next::Delivered).await;
    }
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_for_a_replay_at_once_is_one() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for round in 0..5 {
        let dead = world.dead(&endpoint).await;
        let ask = || {
            let mut asked = world.new_replay(&tenant, dead);
            asked.idempotency = Some((format!("k-{round}"), world.now() + DAY));
            asked
        };
        let (a, b) = tokio::join!(world.store.replay(ask()), other.replay(ask()));
        let (Replayed::Made(a), Replayed::Made(b)) = (a.unwrap(), b.unwrap()) else { panic!("not made") };
        assert_eq!(a.id, b.id);
    }
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_more_endpoints_than_may_be_though_they_are_made_at_once() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let make = || world.new_endpoint(&tenant);
    let (a, b) = tokio::join!(
        world.store.create_endpoint(make(), Vec::new(), 1),
        other.create_endpoint(make(), Vec::new(), 1)
    );
    let answers = [a.unwrap(), b.unwrap()];
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Change::Done(_))).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Change::TooMany)).count(), 1, "{answers:?}");
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_processes_refuse_at_once_is_counted_and_goes_with_its_source() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let (one, two) = (world.source(&tenant).await, world.source(&tenant).await);
    let refused = |source: &Source| Refused {
        tenant_id: tenant.clone(),
        source_id: source.id,
        count: 9,
        newest: (0..9).map(|_| world.rejected(source)).collect(),
    };
    for _ in 0..10 {
        let (ours, theirs) = (vec![refused(&one), refused(&two)], vec![refused(&two), refused(&one)]);
        let (a, b) = tokio::join!(world.store.note_rejections(ours), other.note_rejections(theirs));
        a.and(b).unwrap();
    }
    for source in [&one, &two] {
        let found = world.store.find_source(&tenant, source.id).await.unwrap().unwrap();
        assert_eq!(found.rejected_count, 180);
        let kept = world.store.rejections(&tenant, source.id, ALL).await.unwrap().items;
        assert_eq!(kept.len(), REJECTIONS_KEPT);
    }

    let tables = connect(&url).await;
    for _ in 0..10 {
        let source = world.source(&tenant).await;
        let (noted, deleted) = tokio::join!(
            other.note_rejections(vec![refused(&source)]),
            world.store.delete_source(&tenant, source.id, None)
        );
        noted.unwrap();
        done(deleted.unwrap());
    }
    let left = tables.query_one("SELECT count(*) FROM rejections", &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 40, "of the two that are still there");
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ended_as_an_orphan_is_ended_once() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..40 {
        world.owed(&endpoint).await;
    }
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    let mut count = 0;
    while count < 40 {
        let (ours, theirs) =
            tokio::join!(world.store.end_orphans(world.now(), 7), other.end_orphans(world.now(), 7));
        let ended = ours.unwrap() + theirs.unwrap();
        assert!(ended > 0, "{count} of 40 were ended");
        count += ended;
    }
    assert_eq!(count, 40);
    other.close().await;
}

#[tokio::test]
async fn a_process_leaves_its_work_to_the_others_when_it_closes() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;
    let worker = WorkerId::new(world.now(), &*world.rng);
    other.enlist(worker, world.now()).await.unwrap();
    let ask = vec![LeaseAsk { key: key_of(&endpoint), count: 5 }];
    let held = other.lease(worker, world.now(), ask).await.unwrap();
    assert_eq!(held.len(), 1);
    assert!(world.lease(world.worker().await, &endpoint, 5).await.is_empty());
    drop(held);
    other.close().await;
    world.lease_one(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_lose_nothing_that_was_answered() {
    let Some((world, url)) = world_at().await else { return };
    let tenant = world.tenant("acme").await;
    let mut stored = Vec::new();
    for round in 0..30 {
        let (one, two) = (world.event(&tenant, &[]), world.event(&tenant, &[]));
        let ids = [one.id(), two.id()];
        let publishing = world.store.publish(vec![one.0, two.0]);
        let answers =
            if round % 5 == 4 { tokio::join!(publishing, disconnect_all(&url)).0 } else { publishing.await };
        for (id, answer) in ids.into_iter().zip(answers) {
            if matches!(answer, Ok(Published::Stored { .. })) {
                stored.push(id);
            }
        }
    }
    eventually("the store answers", async || world.store.check().await.is_ok()).await;
    let found = world.store.events(&tenant, EventFilter::default(), ALL).await.unwrap().items;
    for id in &stored {
        assert!(found.iter().any(|event| event.id == *id), "{id} is gone");
    }
    assert!(stored.len() >= 30, "most were stored: {}", stored.len());
}

#[tokio::test]
async fn a_store_whose_database_is_away_says_so_soon_and_recovers() {
    let Some((world, url)) = world_at().await else { return };
    let tenant = world.tenant("acme").await;
    let mut server = url.clone();
    server.set_path("postgres");
    let name = url.path().trim_start_matches('/').to_owned();
    let allow = async |is_allowed: bool| {
        run(&server, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {is_allowed}")).await.unwrap();
    };
    allow(false).await;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    run(&server, &end).await.unwrap();
    let asked = async {
        eventually("the store notices", async || world.store.check().await.is_err()).await;
        for _ in 0..20 {
            assert!(world.store.find_tenant(&tenant).await.is_err());
            let answer = world.store.publish(vec![world.event(&tenant, &[]).0]).await.remove(0);
            assert!(answer.is_err(), "{answer:?}");
        }
    };
    timeout(Duration::from_secs(8), asked).await.expect("each is answered soon");
    allow(true).await;
    eventually("the store recovers", async || world.store.check().await.is_ok()).await;
    eventually("it stores again", async || {
        world.store.publish(vec![world.event(&tenant, &[]).0]).await.remove(0).is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_event_that_postgres_refuses_fails_alone() {
    let Some(world) = world().await else { return };
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
async fn a_week_for_which_nothing_was_prepared_is_made_when_it_comes() {
    let Some(world) = world().await else { return };
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.clock.advance(DAY * 7 * 30);
    let id = world.delivered(&endpoint).await;
    assert_eq!(world.shown(&tenant, id).await, "delivered [200]");
}

#[tokio::test]
async fn the_weeks_to_come_are_prepared() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let weeks = async || {
        let sql = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'deliveries_done'::regclass";
        tables.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    let at_first = weeks().await;
    world.store.maintain(world.now()).await.unwrap();
    assert_eq!(weeks().await, at_first);
    world.clock.advance(DAY * 14);
    world.store.maintain(world.now()).await.unwrap();
    assert_eq!(weeks().await, at_first + 2);
}

#[tokio::test]
async fn what_vanished_is_swept_away() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let fill = "INSERT INTO leases (tenant, delivery_id, worker, number, is_started)
                SELECT 1, gen_random_uuid(), gen_random_uuid(), n, false FROM generate_series(1, 30000) AS n;
                DELETE FROM leases";
    tables.batch_execute(fill).await.unwrap();
    let dead_rows = async || {
        let sql = "SELECT pg_stat_get_dead_tuples('leases'::regclass)";
        tables.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    eventually("the server counts what vanished", async || dead_rows().await >= 30_000).await;
    world.store.maintain(world.now()).await.unwrap();
    eventually("it is swept", async || dead_rows().await == 0).await;
}

#[tokio::test]
async fn a_closed_store_refuses_work() {
    let Some((world, url)) = world_at().await else { return };
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.delivered(&endpoint).await;
    world.store.close().await;

    assert!(world.store.check().await.is_err());
    let late = world.store.create_tenant(world.new_tenant("late")).await;
    assert_eq!(late.unwrap_err().to_string(), "create tenant: the store is closed");
    let late = world.store.publish(vec![world.event(&tenant, &[]).0]).await.remove(0);
    assert!(late.is_err(), "{late:?}");

    let again = World::new(async |clock, _| (open(&url, [7; 32], clock).await.unwrap(), ())).await;
    assert_eq!(again.shown(&tenant, id).await, "delivered [200]");
    assert_eq!(again.store.find_endpoint(&tenant, endpoint.id).await.unwrap(), Some(endpoint));
    again.store.close().await;
}

#[tokio::test]
async fn another_master_key_is_refused() {
    let Some((world, url)) = world_at().await else { return };
    let refused = open(&url, [8; 32], world.clock.clone()).await.unwrap_err();
    assert!(matches!(refused, OpenError::WrongMasterKey), "{refused:?}");
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused() {
    let Some((world, url)) = world_at().await else { return };
    let later = "INSERT INTO harborhook.refinery_schema_history (version, name, applied_on, checksum)
                 VALUES (999, 'later', '2030-01-01T00:00:00Z', '1')";
    run(&url, later).await.unwrap();
    let refused = open(&url, [7; 32], world.clock.clone()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 999, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_text_is_refused() {
    let how = "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    let Some(database) = Database::empty(how).await else { return };
    let refused = migrate(Secret::new(database.url().to_string())).await.unwrap_err();
    assert_eq!(refused.to_string(), "the database's encoding is LATIN1, it must be UTF8");
}

#[tokio::test]
async fn what_went_wrong_is_kept_whatever_characters_it_holds() {
    let Some(world) = world().await else { return };
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    let mut result = world.result(world.lease_one(&endpoint).await, 500, Next::RetryAt(world.now()));
    let attempt = result.attempt.as_mut().unwrap();
    attempt.error = Some("peer said \0 \u{1f980}".to_owned());
    attempt.response_headers = vec![("x-odd".to_owned(), "\0\u{7f}".to_owned())];
    let headers = attempt.response_headers.clone();
    world.record(result).await;
    let kept = world.read(&tenant, id).await.attempts.remove(0);
    assert_eq!(kept.error.as_deref(), Some("peer said \u{fffd} \u{1f980}"));
    assert_eq!(kept.response_headers, headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_migrate_at_once_migrate_once() {
    let Some(database) = Database::empty("").await else { return };
    let migrate = || migrate(Secret::new(database.url().to_string()));
    let (a, b, c) = tokio::join!(migrate(), migrate(), migrate());
    let applied = [a.unwrap(), b.unwrap(), c.unwrap()].concat();
    assert_eq!(applied.iter().filter(|name| name.contains("first")).count(), 1, "{applied:?}");
    assert_eq!(migrate().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn no_error_tells_the_password() {
    let Some(database) = Database::empty("").await else { return };
    let mut url = database.url();
    url.set_username("nobody-of-this-name").unwrap();
    url.set_password(Some("opensesame")).unwrap();
    for port in [url.port(), Some(1)] {
        url.set_port(port).unwrap();
        let error = migrate(Secret::new(url.to_string())).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("opensesame"), "{error:?}");
    }
}

#[tokio::test]
async fn secrets_lie_in_no_table_as_they_are() {
    let Some((world, url)) = world_at().await else { return };
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let tables = connect(&url).await;
    let is_stored = async |text: &str| {
        let count = "SELECT count(*) FROM endpoints AS e
             WHERE position($1 IN e::text) > 0 OR position(convert_to($1, 'UTF8') IN e.secrets) > 0
                OR position(convert_to($1, 'UTF8') IN e.headers) > 0";
        tables.query_one(count, &[&text]).await.unwrap().get::<_, i64>(0) > 0
    };
    assert!(is_stored(endpoint.url.as_str()).await, "what is not secret can be found");
    for secret in &endpoint.secrets {
        assert!(!is_stored(secret.secret.expose()).await);
    }
    assert!(!is_stored(endpoint.headers[0].value.expose()).await);

    let source = world.source(&tenant).await;
    let is_stored = async |text: &str| {
        let count = "SELECT count(*) FROM sources AS s
             WHERE position($1 IN s::text) > 0 OR position(convert_to($1, 'UTF8') IN s.secrets) > 0";
        tables.query_one(count, &[&text]).await.unwrap().get::<_, i64>(0) > 0
    };
    assert!(is_stored(source.options.template.as_ref().unwrap()).await, "what is not secret can be found");
    for secret in &source.secrets {
        assert!(!is_stored(secret.secret.expose()).await);
    }
    assert!(!is_stored(source.options.verify_token.as_ref().unwrap().expose()).await);
}

#[tokio::test]
async fn people_see_deliveries_and_dead_letters_under_plain_names() {
    let Some((world, url)) = world_at().await else { return };
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (dead, queued) = (world.dead(&endpoint).await, world.owed(&endpoint).await);
    let tables = connect(&url).await;
    let shown: Vec<(String, String)> = tables
        .query("SELECT id, status FROM deliveries WHERE tenant_id = 'acme' ORDER BY id", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let mut expected = vec![(dead.to_string(), "dead".to_owned()), (queued.to_string(), "queued".to_owned())];
    expected.sort_unstable();
    assert_eq!(shown, expected);
    let dlq = tables.query_one("SELECT delivery_id, state FROM dlq", &[]).await.unwrap();
    assert_eq!((dlq.get::<_, String>(0), dlq.get::<_, &str>(1)), (dead.to_string(), "open"));
}
