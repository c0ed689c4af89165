use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use harbor_model::id::WorkerId;
use harbor_model::time::Timestamp;

use super::*;
use crate::leadership::tests::Register;

/// Answers as scripted and notes what it was asked; ends the run when the script is over.
struct Script {
    answers: Mutex<VecDeque<Result<usize, Fault>>>,
    asked: Mutex<Vec<&'static str>>,
    shutdown: CancellationToken,
}

impl Script {
    fn next(&self, job: &'static str) -> Result<usize, Fault> {
        self.asked.lock().unwrap().push(job);
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

    async fn forget_keys(&self, _: Timestamp, limit: usize) -> Result<usize, Fault> {
        assert_eq!(limit, 10);
        self.next("keys")
    }

    async fn maintain(&self, _: Timestamp) -> Result<(), Fault> {
        Ok(())
    }
}

/// A clock whose waits are over at once.
struct NoWait;

#[async_trait]
impl Clock for NoWait {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(0)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep_until(&self, _: Timestamp) {
        tokio::task::yield_now().await;
    }
}

async fn check(answers: Vec<Result<usize, Fault>>, expected: &[&str]) {
    let shutdown = CancellationToken::new();
    let script = Arc::new(Script {
        answers: Mutex::new(answers.into()),
        asked: Mutex::default(),
        shutdown: shutdown.clone(),
    });
    let clock = Arc::new(NoWait);
    let candidate = WorkerId::from_number(1);
    let leadership = Leadership::new(Arc::new(Register::default()), clock.clone(), candidate, "upkeep");
    let deps = Deps { upkeep: script.clone(), clock, leadership };
    let settings = Settings { batch_rows_max: 10, batches_max: 3, ..Settings::default() };
    run(deps, settings, shutdown).await;
    assert_eq!(*script.asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn full_batches_are_followed_by_more_up_to_a_bound() {
    check(vec![Ok(10), Ok(3), Ok(0)], &["orphans", "orphans", "keys"]).await;
    check(vec![Ok(10), Ok(10), Ok(10), Ok(0), Ok(10)], &["orphans", "orphans", "orphans", "keys", "orphans"])
        .await;
}

#[tokio::test]
async fn a_fault_of_one_job_does_not_stop_the_others() {
    check(vec![Err(Fault::bare("away")), Ok(0), Ok(0)], &["orphans", "keys", "orphans"]).await;
}

#[tokio::test]
async fn a_shutdown_ends_it_between_batches() {
    check(vec![Ok(10)], &["orphans"]).await;
}
