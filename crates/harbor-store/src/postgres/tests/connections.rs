//! Connections: how long they wait, and when they are thrown away.

use std::sync::Arc;
use std::time::Duration;

use harbor_model::chance::SeededRng;
use harbor_model::port::directory::Directory;
use harbor_model::port::intake::Intake;
use harbor_model::port::observer::NoObserver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::Store;
use crate::conformance::World;
use crate::postgres::tests::eventually;
use crate::postgres::tests::fresh::{settings, world_at};
use crate::postgres::{PostgresStore, Settings};
use crate::seal::MasterKey;

/// A line to the server that can fall silent without breaking.
struct Line {
    url: Url,
    is_silent: watch::Sender<bool>,
}

impl Line {
    async fn to(server: &Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut url = server.clone();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let there = (server.host_str().unwrap().to_owned(), server.port().unwrap_or(5432));
        let is_silent = watch::Sender::new(false);
        let silence = is_silent.subscribe();
        let tasks = TaskTracker::new();
        let of_calls = tasks.clone();
        // Both ends with the runtime of the test.
        tasks.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&there).await.unwrap();
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                of_calls.spawn(pass(near_in, far_out, silence.clone()));
                of_calls.spawn(pass(far_in, near_out, silence.clone()));
            }
        });
        Self { url, is_silent }
    }

    /// A store at the near end, which does not wait for long.
    async fn store(&self, world: &World<PostgresStore>) -> Arc<PostgresStore> {
        let settings = Settings {
            connect_time_max: Duration::from_millis(500),
            statement_time_max: Duration::from_millis(500),
            ..settings(&self.url)
        };
        let rng = Arc::new(SeededRng::new(2));
        let (key, clock) = (MasterKey::from_bytes([7; 32]), world.clock.clone());
        PostgresStore::open(settings, key, clock, rng, Arc::new(NoObserver)).await.unwrap()
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut silence: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if silence.wait_for(|is_silent| !is_silent).await.is_err()
            || to.write_all(&bytes[..length]).await.is_err()
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_network_does_what_was_answered_is_obeyed_soon() {
    let Some((world, url)) = world_at().await else { return };
    let line = Line::to(&url).await;
    let far = line.store(&world).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    eventually("the far process knows the tenant", async || far.tenant(&tenant).await.is_ok()).await;

    line.is_silent.send_replace(true);
    world.change(&endpoint, |now| now.paused = true).await;
    let changed_at = Instant::now();
    // It may say that it does not know, never what is no longer so.
    let obeys = async || match far.tenant(&tenant).await {
        Ok(snapshot) => snapshot.unwrap().endpoints[&endpoint.id].endpoint.paused,
        Err(_) => true,
    };
    eventually("the far process no longer obeys what is old", obeys).await;
    assert!(changed_at.elapsed() < Duration::from_millis(3_700), "{:?}", changed_at.elapsed());

    line.is_silent.send_replace(false);
    eventually("the far process knows the change", async || {
        far.tenant(&tenant).await.is_ok_and(|found| found.unwrap().endpoints[&endpoint.id].endpoint.paused)
    })
    .await;
    far.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_over_a_silent_line_is_answered_in_time() {
    let Some((world, url)) = world_at().await else { return };
    let line = Line::to(&url).await;
    let far = line.store(&world).await;
    let tenant = world.tenant("acme").await;
    assert!(far.publish(vec![world.event(&tenant, &[]).0]).await.remove(0).is_ok());

    line.is_silent.send_replace(true);
    for _ in 0..2 {
        let asked = timeout(Duration::from_secs(4), far.publish(vec![world.event(&tenant, &[]).0]));
        assert!(asked.await.expect("it is answered").remove(0).is_err());
    }
    line.is_silent.send_replace(false);
    eventually("it stores again", async || {
        far.publish(vec![world.event(&tenant, &[]).0]).await.remove(0).is_ok() && far.check().await.is_ok()
    })
    .await;
    far.close().await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cut_and_its_connection_is_not_used_again() {
    let Some((world, _)) = world_at().await else { return };
    let link = world.store.database.browse().await.unwrap();
    let limit = link.query_opt("SHOW statement_timeout", &[]).await.unwrap().unwrap();
    assert_eq!(limit.get::<_, &str>(0), "10s");
    link.batch("SET statement_timeout = 20").await.unwrap();
    let cut = link.query("SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert!(cut.to_string().contains("57014"), "{cut}");
    link.batch("SET statement_timeout = 10000").await.unwrap();
    drop(link);

    // A connection that is given up with an answer under way is thrown away.
    let link = world.store.database.browse().await.unwrap();
    let pid = |row: tokio_postgres::Row| row.get::<_, i32>(0);
    let first = pid(link.query_opt("SELECT pg_backend_pid()", &[]).await.unwrap().unwrap());
    {
        let mut sleeping = Box::pin(link.query("SELECT pg_sleep(60)", &[]));
        let waited = timeout(Duration::from_millis(50), &mut sleeping).await;
        assert!(waited.is_err());
    }
    drop(link);
    let link = world.store.database.browse().await.unwrap();
    let second = pid(link.query_opt("SELECT pg_backend_pid()", &[]).await.unwrap().unwrap());
    assert_ne!(first, second);
}
