//! Tenants take turns at the writer, and one with too much waiting is refused.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Waker};

use harbor_model::decide::retry::Next;
use harbor_model::id::EventId;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::Finish;
use harbor_model::port::intake::NewEvent;

use super::*;
use crate::conformance::world::Draft;

/// A store whose writer is held up until it is let go, and the file that it is in.
async fn world(settings: Settings) -> (World<SqliteStore>, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(DATABASE);
    let settings = Settings { path: Some(path.clone()), ..settings };
    let world = World::new(async |clock, rng| {
        let key = MasterKey::from_bytes([7; 32]);
        let open = SqliteStore::open(settings, key, clock, rng, Arc::new(NoObserver));
        (open.unwrap(), directory)
    })
    .await;
    (world, path)
}

/// Holds the writer up inside a transaction until what this answers is dropped.
fn hold_up(world: &World<SqliteStore>) -> Sender<()> {
    let (let_go, wait) = channel();
    let (entered, enter) = channel();
    let hold = move |_: &mut crate::sqlite::transaction::Tx<'_>| {
        entered.send(()).expect("the test waits for it");
        // It only ends by an error: the other end was dropped.
        let _ = wait.recv();
        Ok(())
    };
    // The change is on its way though nobody waits for its answer.
    drop(world.store.database.change_of("upkeep".parse().unwrap(), hold));
    enter.recv().unwrap();
    let_go
}

type Under<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type Answers = Vec<Result<Published, Fault>>;

/// Asks the store for something that has to wait for the writer.
fn begin<'a, T>(asked: impl Future<Output = T> + 'a) -> Under<'a, T> {
    let mut asked: Under<'a, T> = Box::pin(asked);
    assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "it waits");
    asked
}

/// Asks for a publish, which waits for the writer.
fn publish(world: &World<SqliteStore>, events: Vec<NewEvent>) -> Under<'_, Answers> {
    begin(world.store.publish(events))
}

/// Whether a publish is refused as a whole, without waiting.
fn is_crowded(world: &World<SqliteStore>, events: Vec<NewEvent>) -> bool {
    let mut publishing = world.store.publish(events);
    match publishing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answers) => answers.iter().all(|answer| matches!(answer, Ok(Published::Crowded))),
        Poll::Pending => false,
    }
}

/// How many events were stored before this one.
fn stored_before(path: &Path, id: EventId) -> i64 {
    let sql = "SELECT count(*) FROM events WHERE number < (SELECT number FROM events WHERE id = ?1)";
    Connection::open(path).unwrap().query_row(sql, [id.number().to_be_bytes()], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_backlog_of_one_tenant_does_not_delay_another() {
    let roomy = Settings { tenant_queue_items_max: 20_000, queue_items_max: 40_000, ..Settings::default() };
    let (world, path) = world(roomy).await;
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let endpoint = world.endpoint(&zebra).await;
    world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    let let_go = hold_up(&world);
    let of_acme: Vec<_> = (0..10_000).map(|_| publish(&world, vec![world.event(&acme, &[]).0])).collect();
    let draft = world.event(&zebra, &[]);
    let id = draft.id();
    let published = publish(&world, vec![draft.0]);
    // Its result stands in the same line, behind its event.
    let finishing = begin(world.finish(lease, 200, Next::Delivered));
    drop(let_go);

    assert!(matches!(published.await[0], Ok(Published::Stored { .. })));
    assert_eq!(finishing.await, Finish::Recorded { disabled: None, lane_moved: false });
    for publishing in of_acme {
        assert!(matches!(publishing.await[0], Ok(Published::Stored { .. })));
    }
    let before = stored_before(&path, id);
    assert!(before < 512, "{before} of another's 10000 were stored before it");
}

#[tokio::test]
async fn a_crowded_tenant_is_told_at_once_and_nothing_of_it_is_stored() {
    let narrow = Settings { tenant_queue_items_max: 4, ..Settings::default() };
    let (world, _) = world(narrow).await;
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let endpoint = world.endpoint(&acme).await;
    world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    let let_go = hold_up(&world);
    let events =
        |tenant, count: usize| -> Vec<NewEvent> { (0..count).map(|_| world.event(tenant, &[]).0).collect() };
    // Whoever has nothing waiting is taken in, however much it brings.
    let large = publish(&world, events(&acme, 700));
    assert!(is_crowded(&world, events(&acme, 1)));
    assert!(is_crowded(&world, events(&acme, 700)));
    let of_zebra = publish(&world, events(&zebra, 4));
    assert!(is_crowded(&world, events(&zebra, 1)));
    let finishing = begin(world.finish(lease, 200, Next::Delivered));
    drop(let_go);

    for (publishing, count) in [(large, 700), (of_zebra, 4)] {
        let answers = publishing.await;
        assert_eq!(answers.len(), count);
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Published::Stored { .. }))));
    }
    assert_eq!(
        finishing.await,
        Finish::Recorded { disabled: None, lane_moved: false },
        "results are never refused"
    );
    let count =
        async |tenant| world.store.events(tenant, EventFilter::default(), ALL).await.unwrap().items.len();
    assert_eq!((count(&acme).await, count(&zebra).await), (701, 4));
    world.stored(Draft(events(&acme, 1).remove(0))).await;
}

#[tokio::test]
async fn a_batch_of_several_tenants_is_answered_in_its_order() {
    let narrow = Settings { tenant_queue_items_max: 2, ..Settings::default() };
    let (world, _) = world(narrow).await;
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let let_go = hold_up(&world);
    let first = publish(&world, vec![world.event(&acme, &[]).0, world.event(&acme, &[]).0]);
    let mixed = [&zebra, &acme, &zebra, &acme].map(|tenant| world.event(tenant, &[]).0);
    let mixed = publish(&world, mixed.into());
    drop(let_go);
    first.await;
    let answers: Vec<_> = mixed.await.into_iter().map(Result::unwrap).collect();
    assert!(
        matches!(
            answers[..],
            [Published::Stored { .. }, Published::Crowded, Published::Stored { .. }, Published::Crowded]
        ),
        "{answers:?}"
    );
}
