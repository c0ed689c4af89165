//! Publishers who go on whatever becomes of the servers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harbor_receiver::Receiver;
use harbor_testkit::api::{Api, publish_body};
use http::Method;
use tokio::task::JoinSet;

/// Publishers at work, and the ids of the events that were answered 2xx.
pub(crate) struct Publishers {
    acknowledged: Arc<Mutex<HashSet<String>>>,
    stopping: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// The rest between two requests of one publisher whose request failed.
const REST: Duration = Duration::from_millis(2);

impl Publishers {
    /// Starts `count` publishers, each of which rests for `pause` between its events. They use the servers in
    /// turn, and another one where a request fails.
    pub(crate) fn start(count: usize, pause: Duration, apis: Vec<Api>) -> Self {
        let mut this = Self { acknowledged: Arc::default(), stopping: Arc::default(), tasks: JoinSet::new() };
        let turn = Arc::new(AtomicUsize::new(0));
        for _ in 0..count {
            let (acknowledged, stopping) = (Arc::clone(&this.acknowledged), Arc::clone(&this.stopping));
            let (turn, apis) = (Arc::clone(&turn), apis.clone());
            this.tasks.spawn(async move {
                while !stopping.load(Ordering::Relaxed) {
                    let api = &apis[turn.fetch_add(1, Ordering::Relaxed) % apis.len()];
                    let body = publish_body("order.made", br#"{"order": 1}"#);
                    let published = api.try_send(Method::POST, "/v1/events:publish", &[], body);
                    // A frozen server answers nobody.
                    match tokio::time::timeout(Duration::from_secs(5), published).await {
                        Ok(Ok(reply)) if reply.status == 200 => {
                            let id = reply.json()["event_id"].as_str().unwrap().to_owned();
                            acknowledged.lock().unwrap().insert(id);
                            if !pause.is_zero() {
                                tokio::time::sleep(pause).await;
                            }
                        }
                        // It is down, or cut off in the middle of its answer: nothing was promised.
                        Ok(Ok(_) | Err(_)) | Err(_) => tokio::time::sleep(REST).await,
                    }
                }
            });
        }
        this
    }

    /// How many events were acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Returns when so many events are acknowledged.
    pub(crate) async fn reach(&self, count: usize) {
        while self.count() < count {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// Ends the publishers. Answers the ids of the events that were acknowledged.
    pub(crate) async fn stop(self) -> HashSet<String> {
        self.stopping.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        let mut acknowledged = self.acknowledged.lock().unwrap();
        std::mem::take(&mut *acknowledged)
    }
}

/// Waits until the receiver has got every one of these events. Answers how many requests repeated one.
///
/// # Panics
/// If some have not come within `patience`.
pub(crate) async fn all_arrive(receiver: &Receiver, events: &HashSet<String>, patience: Duration) -> u64 {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let requests = receiver.requests();
        let arrived: HashSet<_> =
            requests.iter().filter_map(|request| request.webhook_id().map(str::to_owned)).collect();
        let missing = events.difference(&arrived).count();
        if missing == 0 {
            return receiver.total() - arrived.len() as u64;
        }
        assert!(tokio::time::Instant::now() < deadline, "{missing} acknowledged events were not delivered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
