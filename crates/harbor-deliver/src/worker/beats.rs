//! Beats: tells the others that this worker lives, and judges whether they do.

use std::sync::Arc;

use harbor_model::decide::share::Fleet;
use harbor_model::id::WorkerId;
use harbor_model::port::Fault;
use harbor_model::port::workers::Roll;
use harbor_model::time::Timestamp;
use tracing::{info, warn};

use crate::worker::Inner;
use crate::worker::life::Instant;

/// Beats until the worker has ended, for the first time at `beat_at`. It goes on while the worker stops: what
/// is in flight until then is not to be taken for lost.
pub(super) async fn run(inner: Arc<Inner>, mut beat_at: Timestamp) {
    let clock = &inner.deps.clock;
    let mut reconcile_at = beat_at + inner.settings.reconcile_interval;
    loop {
        let round = async {
            clock.sleep_until(beat_at).await;
            let now = clock.now();
            beat_at = now + inner.settings.beat_interval;
            if let Err(fault) = beat(&inner).await {
                warn!(worker_id = %inner.id(), %fault, "a beat was not confirmed: {fault}");
            } else if now >= reconcile_at {
                reconcile_at = now + inner.settings.reconcile_interval;
                reconcile(&inner).await;
            }
        };
        tokio::select! {
            biased;
            () = inner.ended.cancelled() => return,
            () = round => {}
        }
    }
}

/// Beats once, and does what the answer asks for.
pub(super) async fn beat(inner: &Arc<Inner>) -> Result<(), Fault> {
    let mut watch = inner.watch.lock().await;
    let id = inner.id();
    // From before the request: the others may have seen the counter at any time since.
    let sent = Instant::now(&*inner.deps.clock);
    let roll = match inner.deps.workers.beat(id, inner.deps.clock.now()).await {
        Ok(roll) => roll,
        Err(fault) => {
            watch.restart();
            return Err(fault);
        }
    };
    if !roll.is_enlisted {
        return begin_anew(inner, &roll).await;
    }
    let was_acting = inner.acting().is_some();
    inner.life.confirm(id, sent);
    inner.join(id, &roll);
    if !was_acting {
        info!(worker_id = %id, "worker {id} goes on: its beat is confirmed");
        inner.nudge();
        inner.pump();
    }
    for (dead, count) in watch.look(&roll, id, inner.deps.clock.elapsed()) {
        bury(inner, dead, count).await;
    }
    Ok(())
}

/// Frees what a dead worker holds. Where that fails it is found dead again at the next beat.
async fn bury(inner: &Arc<Inner>, dead: WorkerId, count: u64) {
    match inner.deps.workers.bury(dead, count, inner.deps.clock.now()).await {
        Ok(Some(freed)) => {
            warn!(worker_id = %dead, freed, "worker {dead} is dead; {freed} deliveries that it held are free");
            inner.nudge();
        }
        // It lives, or another one was first.
        Ok(None) => {}
        Err(fault) => warn!(worker_id = %dead, %fault, "cannot free what worker {dead} held: {fault}"),
    }
}

/// Goes on as somebody else: the others have buried this incarnation and lend what it held to others.
async fn begin_anew(inner: &Arc<Inner>, roll: &Roll) -> Result<(), Fault> {
    let before = inner.id();
    warn!(worker_id = %before, "worker {before} was taken for dead and begins anew");
    inner.life.lose();
    inner.give_back_waiting();
    if inner.stopping.is_cancelled() {
        return Ok(());
    }
    let clock = &inner.deps.clock;
    let id = WorkerId::new(clock.now(), &*inner.deps.rng);
    let sent = Instant::now(&**clock);
    inner.deps.workers.enlist(id, clock.now()).await?;
    inner.life.confirm(id, sent);
    inner.join(id, roll);
    info!(worker_id = %id, "worker {id} goes on where {before} ended");
    inner.nudge();
    Ok(())
}

async fn reconcile(inner: &Arc<Inner>) {
    let id = inner.id();
    match inner.deps.workers.reconcile(id).await {
        Ok(0) => {}
        Ok(freed) => {
            warn!(worker_id = %id, freed, "{freed} deliveries were leased to worker {id} that it does not hold");
            inner.nudge();
        }
        Err(fault) => warn!(worker_id = %id, %fault, "cannot compare leases with the store: {fault}"),
    }
}

impl Inner {
    /// Takes over who is at work. Every lane learns its part of every limit at once.
    fn join(self: &Arc<Self>, me: WorkerId, roll: &Roll) {
        let fleet = Fleet::new(me, roll.counts.iter().map(|(worker, _)| *worker));
        let is_news = self.lanes().join(fleet, self.deps.clock.now());
        if is_news {
            // What others left to this worker is found by a walk.
            self.nudge();
            self.pump();
        }
    }
}
