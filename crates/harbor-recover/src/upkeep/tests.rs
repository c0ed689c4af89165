use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use harbor_model::chance::SeededRng;
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::{EndpointId, WorkerId};
use harbor_model::notice::Subject;

use super::*;
use crate::fakes::{JobShelf, SkippingClock, T0};
use crate::leadership::tests::Register;
use crate::leadership::{self, Leadership};

/// Answers as scripted and notes what it was asked; ends the run when the script is over.
struct Script {
    answers: Mutex<VecDeque<Result<usize, Fault>>>,
    sweeps: Mutex<VecDeque<usize>>,
    asked: Mutex<Vec<&'static str>>,
    shutdown: CancellationToken,
}

impl Script {
    fn next(&self, chore: &'static str) -> Result<usize, Fault> {
        self.asked.lock().unwrap().push(chore);
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.pop_front().expect("nothing is asked after the end of the script");
        if answers.is_empty() {
            self.shutdown.cancel();
        }
        answer
    }
}

#[async_trait]
impl Upkeep for Script {
    async fn end_orphans(&self, _: Timestamp, limit: usize) -> Result<usize, Fault> {
        assert_eq!(limit, 10);
        self.next("orphans")
    }

    async fn end_drains(&self, _: Timestamp, limit: usize) -> Result<usize, Fault> {
        assert_eq!(limit, 10);
        self.next("drains")
    }

    async fn forget_keys(&self, _: Timestamp, limit: usize) -> Result<usize, Fault> {
        assert_eq!(limit, 10);
        self.next("keys")
    }

    async fn sweep(&self, _: Timestamp, limit: usize) -> Result<usize, Fault> {
        assert_eq!(limit, 5);
        let rows = self.sweeps.lock().unwrap().pop_front();
        if rows.is_some() {
            self.asked.lock().unwrap().push("sweep");
        }
        Ok(rows.unwrap_or(0))
    }

    async fn maintain(&self, _: Timestamp) -> Result<(), Fault> {
        Ok(())
    }
}

/// Notices that wait, and those that were published; one with this endpoint cannot be.
#[derive(Default)]
struct Board {
    waiting: Mutex<Vec<Notice>>,
    announced: Mutex<Vec<NoticeId>>,
}

const REFUSED: u128 = 3;

#[async_trait]
impl Notices for Board {
    async fn notices(&self, limit: usize) -> Result<Vec<Notice>, Fault> {
        Ok(self.waiting.lock().unwrap().iter().take(limit).cloned().collect())
    }

    async fn forget_notices(&self, ids: Vec<NoticeId>) -> Result<(), Fault> {
        self.waiting.lock().unwrap().retain(|notice| !ids.contains(&notice.id));
        Ok(())
    }
}

#[async_trait]
impl Announcer for Board {
    async fn announce(&self, notice: &Notice) -> Result<(), Fault> {
        if matches!(notice.subject, Subject::EndpointDisabled { endpoint_id, .. } if endpoint_id.number() == REFUSED)
        {
            return Err(Fault::bare("away"));
        }
        self.announced.lock().unwrap().push(notice.id);
        Ok(())
    }
}

fn notice(number: u128) -> Notice {
    Notice {
        id: NoticeId::new(T0, &SeededRng::new(number as u64)),
        tenant_id: "tn_a".parse().unwrap(),
        subject: Subject::EndpointDisabled {
            endpoint_id: EndpointId::from_number(number),
            reason: DisabledReason::Gone,
        },
    }
}

struct Stage {
    script: Arc<Script>,
    board: Arc<Board>,
    shelf: Arc<JobShelf>,
    clock: Arc<SkippingClock>,
    shutdown: CancellationToken,
}

impl Stage {
    fn new(answers: Vec<Result<usize, Fault>>) -> Self {
        let shutdown = CancellationToken::new();
        let script = Script {
            answers: Mutex::new(answers.into()),
            sweeps: Mutex::default(),
            asked: Mutex::default(),
            shutdown: shutdown.clone(),
        };
        Self {
            script: Arc::new(script),
            board: Arc::default(),
            shelf: Arc::default(),
            clock: Arc::default(),
            shutdown,
        }
    }

    fn deps(&self) -> Deps {
        let register = Arc::new(Register::default());
        let candidate = WorkerId::from_number(1);
        let settings = leadership::Settings::default();
        Deps {
            upkeep: self.script.clone(),
            jobs: self.shelf.clone(),
            notices: self.board.clone(),
            announcer: self.board.clone(),
            clock: self.clock.clone(),
            leadership: Leadership::new(register, self.clock.clone(), candidate, "upkeep", settings),
        }
    }

    async fn run(&self) -> Vec<&'static str> {
        let settings =
            Settings { batch_rows_max: 10, batches_max: 3, sweep_rows_max: 5, ..Settings::default() };
        run(self.deps(), settings, self.shutdown.clone()).await;
        self.script.asked.lock().unwrap().clone()
    }
}

async fn check(answers: Vec<Result<usize, Fault>>, expected: &[&str]) {
    assert_eq!(Stage::new(answers).run().await, expected);
}

#[tokio::test]
async fn full_batches_are_followed_by_more_up_to_a_bound() {
    check(vec![Ok(10), Ok(3), Ok(0), Ok(0)], &["orphans", "orphans", "drains", "keys"]).await;
    check(
        vec![Ok(10), Ok(10), Ok(10), Ok(0), Ok(0), Ok(10)],
        &["orphans", "orphans", "orphans", "drains", "keys", "orphans"],
    )
    .await;
}

#[tokio::test]
async fn a_fault_of_one_chore_does_not_stop_the_others() {
    check(vec![Err(Fault::bare("away")), Ok(0), Ok(0), Ok(0)], &["orphans", "drains", "keys", "orphans"])
        .await;
}

#[tokio::test]
async fn a_shutdown_ends_it_between_batches() {
    check(vec![Ok(10)], &["orphans"]).await;
}

#[tokio::test]
async fn history_is_removed_between_rounds_with_rests_and_holds_up_no_round() {
    let stage = Stage::new(vec![Ok(0), Ok(0), Ok(0), Ok(0)]);
    // As much as there is time for, and one that there is no time for.
    *stage.script.sweeps.lock().unwrap() = vec![5; 101].into();
    let asked = stage.run().await;
    assert_eq!(asked[..4], ["orphans", "drains", "keys", "sweep"]);
    let sweeps = asked.iter().filter(|chore| **chore == "sweep").count();
    assert_eq!(sweeps, 100, "one each 20 ms of the 2 s between rounds");
    assert_eq!(asked.last(), Some(&"orphans"));
}

#[tokio::test]
async fn jobs_are_forgotten_that_ended_long_ago() {
    let stage = Stage::new(vec![Ok(0), Ok(0), Ok(0), Ok(0)]);
    stage.run().await;
    let before = stage.shelf.forgotten_before().unwrap();
    assert_eq!(T0.since(before), Duration::from_secs(90 * 24 * 60 * 60));
}

#[tokio::test]
async fn what_was_published_is_forgotten_and_what_was_not_stays() {
    let stage = Stage::new(Vec::new());
    *stage.board.waiting.lock().unwrap() = (1..=5).map(notice).collect();
    // One at a time: after the fault the others wait.
    let found = announce(&stage.deps(), 10, 1).await;
    assert!(found.is_err());
    let left = |stage: &Stage| stage.board.waiting.lock().unwrap().clone();
    assert_eq!(left(&stage), [notice(3), notice(4), notice(5)]);
    assert_eq!(*stage.board.announced.lock().unwrap(), [notice(1).id, notice(2).id]);

    stage.board.waiting.lock().unwrap().remove(0);
    assert_eq!(announce(&stage.deps(), 10, 16).await.unwrap(), 2);
    assert_eq!(left(&stage), []);
}
