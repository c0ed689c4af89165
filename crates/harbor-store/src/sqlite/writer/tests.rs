use harbor_model::chance::SeededRng;

use super::*;
use crate::conformance::world::SetClock;
use crate::turns::TURN_WEIGHT;

/// Remembers what the writer tells.
#[derive(Default)]
struct Seen(Mutex<Vec<(usize, bool)>>);

impl Observer for Seen {
    fn published(&self, _: harbor_model::port::observer::PublishSeen<'_>) {}
    fn received(&self, _: harbor_model::port::observer::ReceiveSeen) {}
    fn attempted(&self, _: harbor_model::port::observer::AttemptSeen<'_>) {}
    fn ended(&self, _: harbor_model::port::observer::EndSeen<'_>) {}
    fn committed(&self, seen: CommitSeen) {
        self.0.lock().unwrap().push((seen.operations, seen.is_committed));
    }
    fn breaker_changed(&self, _: harbor_model::port::observer::BreakerSeen<'_>) {}
    fn throttled(&self, _: harbor_model::port::observer::ThrottleSeen) {}
    fn endpoint_disabled(&self, _: harbor_model::port::observer::DisabledSeen<'_>) {}
}

const ROOMY: Room = Room { weight_max: 100_000, tenant_weight_max: 100_000 };

struct Bench {
    core: Core,
    seen: Arc<Seen>,
}

fn bench() -> Bench {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "CREATE TABLE numbers (number INTEGER PRIMARY KEY) STRICT;
         CREATE TABLE tenants (
             number INTEGER PRIMARY KEY, id TEXT, directory_version INTEGER, watched INTEGER, deleted_at INTEGER);
         INSERT INTO tenants VALUES (1, 'acme', 1, 0, NULL);",
    )
    .unwrap();
    let seen = Arc::new(Seen::default());
    let core = Core {
        conn,
        bounds: Bounds { items_max: 512, bytes_max: 1 << 20, time_max: Duration::from_millis(20) },
        clock: Arc::new(SetClock::default()),
        observer: seen.clone(),
        memory: Memory::new(Arc::new(SeededRng::new(1))),
        wal_pages: Arc::default(),
        checkpoints: None,
    };
    Bench { core, seen }
}

fn numbers(conn: &Connection) -> Vec<i64> {
    let mut query = conn.prepare("SELECT number FROM numbers ORDER BY number").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Inserts numbers; `-1` panics. A number that is there already is refused by the table.
struct Insert(Vec<i64>);

impl Work for Insert {
    type Answer = Vec<Result<i64, Fault>>;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Self::Answer, Trouble> {
        let insert = |number: &i64| {
            assert_ne!(*number, -1, "a bug");
            tx.item("insert", |tx| {
                tx.conn.prepare_cached("INSERT INTO numbers VALUES (?1)")?.execute([*number])?;
                Ok(*number)
            })
        };
        self.0.iter().map(insert).collect()
    }
}

type Reply<W> = oneshot::Receiver<Result<<W as Work>::Answer, Fault>>;

fn job<W: Work>(work: W) -> (Box<dyn Job>, Reply<W>) {
    let (envelope, answer) = Envelope::new(work, Weight::ONE);
    (Box::new(envelope), answer)
}

/// Runs jobs in one transaction; what a failure leaves in the queue, in the next.
fn run(core: &mut Core, jobs: Vec<Box<dyn Job>>) {
    let mut jobs = jobs.into_iter();
    while let Some(first) = jobs.next() {
        core.run(first, |_| jobs.next());
    }
}

/// Which of single-number jobs, run together, were done.
fn done_of(core: &mut Core, numbers: &[i64]) -> Vec<i64> {
    let (jobs, replies): (Vec<_>, Vec<_>) = numbers.iter().map(|number| job(Insert(vec![*number]))).unzip();
    run(core, jobs);
    let answers = replies.into_iter().map(|mut reply| reply.try_recv().expect("each is answered"));
    answers.flat_map(|answer| answer.into_iter().flatten().flatten()).collect()
}

#[test]
fn what_is_under_way_together_is_committed_together() {
    let Bench { mut core, seen } = bench();
    assert_eq!(done_of(&mut core, &[1, 2, 3]), [1, 2, 3]);
    assert_eq!(numbers(&core.conn), [1, 2, 3]);
    assert_eq!(*seen.0.lock().unwrap(), [(3, true)]);
}

#[test]
fn only_the_guilty_fail_wherever_they_stand() {
    for guilty in [vec![0], vec![6], vec![3, 4], vec![0, 2, 6], (0..7).collect()] {
        let Bench { mut core, .. } = bench();
        core.conn.execute_batch("INSERT INTO numbers VALUES (100)").unwrap();
        let asked: Vec<i64> =
            (0..7).map(|position| if guilty.contains(&position) { 100 } else { position }).collect();
        let expected: Vec<i64> = (0..7).filter(|position| !guilty.contains(position)).collect();
        assert_eq!(done_of(&mut core, &asked), expected, "guilty: {guilty:?}");
        let mut stored = expected;
        stored.push(100);
        assert_eq!(numbers(&core.conn), stored, "guilty: {guilty:?}");
    }
}

#[test]
fn only_the_guilty_item_of_a_change_fails() {
    let Bench { mut core, .. } = bench();
    let (one, mut one_reply) = job(Insert(vec![1, 2, 1, 3]));
    let (other, mut other_reply) = job(Insert(vec![4]));
    run(&mut core, vec![one, other]);
    let items: Vec<_> = one_reply.try_recv().unwrap().unwrap().into_iter().map(Result::ok).collect();
    assert_eq!(items, [Some(1), Some(2), None, Some(3)]);
    assert_eq!(other_reply.try_recv().unwrap().unwrap().len(), 1);
    assert_eq!(numbers(&core.conn), [1, 2, 3, 4]);
}

#[test]
fn a_panic_fails_its_own_change_alone() {
    let Bench { mut core, .. } = bench();
    assert_eq!(done_of(&mut core, &[1, -1, 2]), [1, 2]);
    assert_eq!(done_of(&mut core, &[3]), [3]);
    assert_eq!(numbers(&core.conn), [1, 2, 3]);
}

/// Raises a directory's version and then fails, or looks at it.
struct Raise(bool);

impl Work for Raise {
    type Answer = u64;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<u64, Trouble> {
        let acme: TenantId = "acme".parse().unwrap();
        if !self.0 {
            return Ok(tx.tenant(&acme)?.unwrap().directory_version);
        }
        tx.raise_directory_version(&acme)?;
        Err(Trouble::damaged("number", "on purpose"))
    }
}

#[test]
fn what_was_rolled_back_is_forgotten() {
    let Bench { mut core, seen } = bench();
    let (look, mut before) = job(Raise(false));
    let (fail, mut failed) = job(Raise(true));
    let (look_again, mut after) = job(Raise(false));
    run(&mut core, vec![look, fail, look_again]);
    assert_eq!(before.try_recv().unwrap().unwrap(), 1);
    assert!(failed.try_recv().unwrap().is_err());
    assert_eq!(after.try_recv().unwrap().unwrap(), 1);
    assert!(seen.0.lock().unwrap().contains(&(1, false)), "the observer hears of what failed");
}

#[test]
fn a_commit_that_fails_fails_all() {
    let Bench { mut core, .. } = bench();
    // A deferred constraint is checked by the commit.
    core.conn
        .execute_batch(
            "PRAGMA foreign_keys = ON;
             CREATE TABLE children (number INTEGER REFERENCES numbers (number) DEFERRABLE INITIALLY DEFERRED);",
        )
        .unwrap();
    struct Orphan;
    impl Work for Orphan {
        type Answer = ();

        fn apply(&mut self, tx: &mut Tx<'_>) -> Result<(), Trouble> {
            tx.conn.execute("INSERT INTO children VALUES (7)", [])?;
            Ok(())
        }
    }
    let (orphan, mut orphan_reply) = job(Orphan);
    let (insert, mut insert_reply) = job(Insert(vec![1]));
    run(&mut core, vec![orphan, insert]);
    assert!(orphan_reply.try_recv().unwrap().is_err());
    assert!(insert_reply.try_recv().unwrap().is_err());
    assert!(core.conn.is_autocommit());
    assert_eq!(done_of(&mut core, &[2]), [2]);
    assert_eq!(numbers(&core.conn), [2]);
}

/// Waits inside its transaction until it is let go.
struct Wait(std::sync::mpsc::Receiver<()>);

impl Work for Wait {
    type Answer = ();

    fn apply(&mut self, _: &mut Tx<'_>) -> Result<(), Trouble> {
        let _ = self.0.recv();
        Ok(())
    }
}

#[tokio::test]
async fn what_comes_during_a_transaction_joins_it_up_to_its_bounds() {
    let Bench { mut core, seen } = bench();
    core.bounds.items_max = 4;
    let writer = Writer::start(core, ROOMY).unwrap();
    let (let_go, wait) = std::sync::mpsc::channel();
    let mut answers = Vec::new();
    let waiting = writer.hand_in(None, Weight::ONE, Wait(wait));
    for number in 1..=6 {
        answers.push(writer.hand_in(None, Weight::ONE, Insert(vec![number])));
    }
    let_go.send(()).unwrap();
    waiting.await.unwrap();
    for answer in answers {
        answer.await.unwrap();
    }
    let heavy = Weight { items: 1, bytes: 1 << 21 };
    writer.hand_in(None, heavy, Insert(vec![7])).await.unwrap();
    assert_eq!(*seen.0.lock().unwrap(), [(4, true), (3, true), (1, true)]);
    writer.close();
}

#[tokio::test]
async fn tenants_take_turns() {
    let Bench { core, seen } = bench();
    let writer = Writer::start(core, ROOMY).unwrap();
    let (let_go, wait) = std::sync::mpsc::channel();
    let waiting = writer.hand_in(None, Weight::ONE, Wait(wait));
    let [acme, zebra] = ["acme", "zebra"].map(|id| id.parse::<TenantId>().unwrap());
    let of_acme: Vec<_> = (1..=2_000)
        .map(|number| writer.hand_in(Some(acme.clone()), Weight::ONE, Insert(vec![number])))
        .collect();
    let of_zebra = writer.hand_in(Some(zebra), Weight::ONE, Look);
    let_go.send(()).unwrap();
    waiting.await.unwrap();
    assert!(of_zebra.await.unwrap().len() <= TURN_WEIGHT, "what it finds done was before it");
    for answer in of_acme {
        answer.await.unwrap();
    }
    assert!(seen.0.lock().unwrap().len() < 10, "turns do not cost transactions");
    writer.close();
}

/// Looks at what was inserted before it.
struct Look;

impl Work for Look {
    type Answer = Vec<i64>;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Vec<i64>, Trouble> {
        Ok(numbers(tx.conn))
    }
}

#[tokio::test]
async fn offers_of_a_tenant_with_too_much_waiting_are_refused_and_nothing_else_is() {
    let Bench { core, .. } = bench();
    let writer = Writer::start(core, Room { weight_max: 100, tenant_weight_max: 2 }).unwrap();
    let (let_go, wait) = std::sync::mpsc::channel();
    let waiting = writer.hand_in(None, Weight::ONE, Wait(wait));
    let [acme, zebra] = ["acme", "zebra"].map(|id| id.parse::<TenantId>().unwrap());
    let offer = |tenant: &TenantId, numbers: &[i64]| {
        let works = numbers.iter().map(|number| (Weight::ONE, Insert(vec![*number]))).collect();
        writer.offer(tenant, works)
    };
    let mut answers = offer(&acme, &[1, 2, 3]).expect("nothing of it waits");
    assert!(offer(&acme, &[4]).is_none());
    answers.extend(offer(&zebra, &[5]).expect("it is another's backlog"));
    answers.extend(offer(&zebra, &[6]).expect("there is room"));
    assert!(offer(&zebra, &[7]).is_none());
    let pushed = writer.hand_in(Some(acme.clone()), Weight::ONE, Insert(vec![8]));
    let_go.send(()).unwrap();
    waiting.await.unwrap();
    for answer in answers {
        answer.await.unwrap();
    }
    pushed.await.unwrap();
    offer(&acme, &[9]).expect("nothing of it waits any more").remove(0).await.unwrap();
    let done = writer.hand_in(None, Weight::ONE, Look).await.unwrap();
    assert_eq!(done, [1, 2, 3, 5, 6, 8, 9]);
    writer.close();
}

#[test]
fn a_change_weighs_what_it_fills_of_a_transaction() {
    let bounds = Bounds { items_max: 512, bytes_max: 4 << 20, time_max: Duration::ZERO };
    let check =
        |items, bytes, rows| assert_eq!(bounds.rows(Weight { items, bytes }), rows, "{items} {bytes}");
    check(1, 0, 1);
    check(0, 0, 1);
    check(3, 8 << 10, 3);
    check(1, 4 << 20, 512);
    check(600, 4 << 20, 600);
}

#[tokio::test]
async fn a_closed_writer_has_done_what_came_before_and_refuses_what_comes_after() {
    let Bench { core, .. } = bench();
    let writer = Writer::start(core, ROOMY).unwrap();
    let before = writer.hand_in(None, Weight::ONE, Insert(vec![1]));
    writer.close();
    assert_eq!(before.await.unwrap().len(), 1);
    let after = writer.hand_in(None, Weight::ONE, Insert(vec![2])).await;
    assert_eq!(after.unwrap_err().to_string(), "write: the store is closed");
    writer.close();
}
