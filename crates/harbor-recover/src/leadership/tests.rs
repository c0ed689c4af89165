use std::sync::Mutex;

use async_trait::async_trait;
use harbor_model::port::Fault;
use harbor_model::port::workers::Roll;
use harbor_model::time::Timestamp;

use super::*;

/// A register of one task, which may be out of reach.
#[derive(Default)]
pub(crate) struct Register {
    leader: Mutex<Option<Leader>>,
    is_away: Mutex<bool>,
}

#[async_trait]
impl Workers for Register {
    async fn lead(
        &self,
        _: &'static str,
        candidate: WorkerId,
        outlived: Option<Leader>,
    ) -> Result<Leader, Fault> {
        if *self.is_away.lock().unwrap() {
            return Err(Fault::bare("away"));
        }
        let mut leader = self.leader.lock().unwrap();
        let count = leader.map_or(0, |leader| leader.count);
        let is_free = leader.is_none_or(|leader| leader.worker == candidate) || *leader == outlived;
        if is_free {
            *leader = Some(Leader { worker: candidate, count: count + 1 });
        }
        Ok(leader.expect("there is one by now"))
    }

    async fn enlist(&self, _: WorkerId, _: Timestamp) -> Result<(), Fault> {
        unreachable!("leadership asks for nothing else")
    }

    async fn beat(&self, _: WorkerId, _: Timestamp) -> Result<Roll, Fault> {
        unreachable!("leadership asks for nothing else")
    }

    async fn bury(&self, _: WorkerId, _: u64, _: Timestamp) -> Result<Option<usize>, Fault> {
        unreachable!("leadership asks for nothing else")
    }

    async fn discharge(&self, _: WorkerId) -> Result<(), Fault> {
        unreachable!("leadership asks for nothing else")
    }

    async fn reconcile(&self, _: WorkerId) -> Result<usize, Fault> {
        unreachable!("leadership asks for nothing else")
    }
}

/// A clock that stands where it was set.
#[derive(Default)]
struct SetClock(Mutex<Duration>);

impl SetClock {
    fn set(&self, seconds: u64) {
        *self.0.lock().unwrap() = Duration::from_secs(seconds);
    }
}

#[async_trait]
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(0)
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, _: Timestamp) {
        unreachable!("leadership waits for nothing")
    }
}

struct Two {
    register: Arc<Register>,
    clock: Arc<SetClock>,
    first: Leadership,
    second: Leadership,
}

fn two() -> Two {
    let (register, clock) = (Arc::new(Register::default()), Arc::new(SetClock::default()));
    let candidate = |number| {
        let worker = WorkerId::from_number(number);
        Leadership::new(register.clone(), clock.clone(), worker, "upkeep", Settings::default())
    };
    let (first, second) = (candidate(1), candidate(2));
    Two { register, clock, first, second }
}

#[tokio::test]
async fn the_first_keeps_the_task_while_it_confirms_itself() {
    let mut two = two();
    for seconds in 0..120 {
        two.clock.set(seconds);
        assert!(two.first.is_mine().await, "after {seconds} s");
        assert!(!two.second.is_mine().await, "after {seconds} s");
    }
}

#[tokio::test]
async fn one_that_is_silent_for_long_is_followed_and_knows_it() {
    let mut two = two();
    assert!(two.first.is_mine().await);
    let mut taken_at = None;
    for seconds in 1..60 {
        two.clock.set(seconds);
        if two.second.is_mine().await {
            taken_at.get_or_insert(seconds);
        }
    }
    assert!(taken_at.is_some_and(|at| (20..=26).contains(&at)), "{taken_at:?}");
    assert!(!two.first.is_mine().await, "it was followed");
}

#[tokio::test]
async fn time_without_the_store_proves_nothing() {
    let mut two = two();
    assert!(two.first.is_mine().await);
    assert!(!two.second.is_mine().await);
    *two.register.is_away.lock().unwrap() = true;
    for seconds in 1..100 {
        two.clock.set(seconds);
        assert!(!two.second.is_mine().await);
        assert_eq!(two.first.is_mine().await, seconds < 15, "unconfirmed, it rests after {seconds} s");
    }
    *two.register.is_away.lock().unwrap() = false;
    two.clock.set(105);
    assert!(!two.second.is_mine().await, "the watch begins anew");
    assert!(two.first.is_mine().await);
}

#[test]
fn a_holder_confirms_itself_before_it_rests_and_rests_before_it_is_followed() {
    let check = |confirm: u64, fence: u64, outlived: u64, is_valid: bool| {
        let [confirm_interval, fence_after, outlived_after] =
            [confirm, fence, outlived].map(Duration::from_secs);
        let settings = Settings { confirm_interval, fence_after, outlived_after };
        assert_eq!(settings.validate().is_ok(), is_valid, "{settings:?}");
    };
    assert_eq!(Settings::default().validate(), Ok(()));
    check(0, 2, 3, false);
    check(1, 2, 3, true);
    check(2, 2, 3, false);
    check(1, 3, 3, false);
}
