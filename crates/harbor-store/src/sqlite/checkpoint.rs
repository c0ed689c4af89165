//! Copies the write-ahead log into the database, beside the writer rather than in its way; and sees to it that
//! nothing is left of what was deleted.

use std::fs::File;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use harbor_model::port::Fault;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::sqlite::scrub::Pages;
use crate::sqlite::trouble::Trouble;

/// When the log is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Pages that are copied without waiting for anybody.
    pub(crate) passive_pages: u64,
    /// Pages at which the writer is made to wait, so that the log begins anew.
    pub(crate) restart_pages: u64,
}

/// What the thread is woken for.
enum Wake {
    /// The log has so many pages.
    Grown(u64),
    /// The log is to be cut off, once all of it is copied.
    Cut(oneshot::Sender<Result<(), Trouble>>),
    /// The unused parts of these pages are to be wiped. Answers whether there are more pages behind them.
    Wipe(Range<u64>, oneshot::Sender<Result<bool, Trouble>>),
    /// Nothing more comes.
    End,
}

/// The thread that makes checkpoints; it sleeps until the writer wakes it. Dropping this ends it.
pub(crate) struct Checkpoints {
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
    gate: Arc<Gate>,
    thresholds: Thresholds,
    seen: u64,
    wake_at: u64,
}

impl Checkpoints {
    /// Starts the thread on a connection of its own.
    pub(crate) fn start(conn: Connection, file: Arc<File>, thresholds: Thresholds) -> std::io::Result<Self> {
        let (wake, woken) = channel();
        let gate = Arc::new(Gate::default());
        let copier = Copier { conn, file, thresholds, gate: gate.clone() };
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || copier.run(&woken))?;
        Ok(Self { wake, thread: Some(thread), gate, thresholds, seen: 0, wake_at: thresholds.passive_pages })
    }

    /// Waits, before a transaction, for whatever needs the writer to stand still.
    ///
    /// True where pages were wiped since: what the connection remembers of them is not to be written again.
    #[must_use = "what is remembered of wiped pages would be written again"]
    pub(crate) fn enter(&self) -> bool {
        self.gate.enter()
    }

    /// Says that the transaction has ended.
    pub(crate) fn leave(&self) {
        self.gate.leave();
    }

    /// Tells how long the log is after a commit.
    pub(crate) fn saw(&mut self, wal_pages: u64) {
        if wal_pages < self.seen {
            // The log began anew.
            self.wake_at = self.thresholds.passive_pages;
        }
        self.seen = wal_pages;
        if wal_pages >= self.wake_at {
            self.wake_at = wal_pages + self.thresholds.passive_pages;
            // The thread ends only with this.
            let _ = self.wake.send(Wake::Grown(wal_pages));
        }
    }

    /// What wipes away, while the writer goes on.
    pub(crate) fn wiper(&self) -> Wiper {
        Wiper(self.wake.clone())
    }
}

/// Sees to it that nothing is left of what was deleted.
pub(crate) struct Wiper(Sender<Wake>);

impl Wiper {
    /// Waits until all that is committed is copied into the database and the log is empty. The writer and the
    /// readers that are at it are waited for.
    pub(crate) async fn cut_log(&self) -> Result<(), Fault> {
        self.ask("cut the log", Wake::Cut).await
    }

    /// Wipes the unused parts of these pages of the database, counted from 0. Answers whether there are more
    /// pages behind them.
    pub(crate) async fn wipe(&self, pages: Range<u64>) -> Result<bool, Fault> {
        self.ask("wipe pages", |done| Wake::Wipe(pages, done)).await
    }

    async fn ask<T>(
        &self,
        doing: &'static str,
        wake: impl FnOnce(oneshot::Sender<Result<T, Trouble>>) -> Wake,
    ) -> Result<T, Fault> {
        let (done, answer) = oneshot::channel();
        // Where the thread has ended nobody answers.
        let _ = self.0.send(wake(done));
        answer.await.unwrap_or(Err(Trouble::Closed)).map_err(|trouble| trouble.into_fault(doing))
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        // Whoever drops this in the midst of a transaction writes no more.
        self.gate.leave();
        // Where it has ended, it panicked.
        let _ = self.wake.send(Wake::End);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

/// Stops the writer between two transactions.
///
/// SQLite's own lock would not do: a busy writer takes it again sooner than one who tries now and then.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_closed: bool,
    /// Whether the writer is in a transaction.
    is_writing: bool,
    /// Whether pages were wiped since the last one began.
    is_wiped: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().expect("no holder panics")
    }

    fn wait<'a>(&self, state: MutexGuard<'a, GateState>) -> MutexGuard<'a, GateState> {
        self.changed.wait(state).expect("no holder panics")
    }

    fn enter(&self) -> bool {
        let mut state = self.state();
        while state.is_closed {
            state = self.wait(state);
        }
        state.is_writing = true;
        std::mem::take(&mut state.is_wiped)
    }

    fn leave(&self) {
        let mut state = self.state();
        state.is_writing = false;
        if state.is_closed {
            self.changed.notify_all();
        }
    }

    fn close(&self) -> Closed<'_> {
        let mut state = self.state();
        state.is_closed = true;
        while state.is_writing {
            state = self.wait(state);
        }
        drop(state);
        Closed(self)
    }
}

/// Keeps the gate closed until it is dropped.
struct Closed<'a>(&'a Gate);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.state().is_closed = false;
        self.0.changed.notify_all();
    }
}

/// The thread, with all that it needs.
struct Copier {
    conn: Connection,
    /// The database's own file. It is never closed while a connection is open: with any handle of a file, all
    /// locks of the process on it go, and SQLite's with them.
    file: Arc<File>,
    thresholds: Thresholds,
    gate: Arc<Gate>,
}

impl Copier {
    fn run(&self, woken: &Receiver<Wake>) {
        while let Ok(first) = woken.recv() {
            let mut grown_to = None;
            for wake in std::iter::once(first).chain(woken.try_iter()) {
                // Whoever asked may have gone.
                match wake {
                    Wake::Grown(wal_pages) => grown_to = Some(wal_pages),
                    Wake::Cut(done) => drop(done.send(self.cut(|| Ok(())))),
                    Wake::Wipe(pages, done) => drop(done.send(self.wipe(pages))),
                    Wake::End => return,
                }
            }
            if let Some(wal_pages) = grown_to {
                checkpoint(&self.conn, "PASSIVE");
                if wal_pages >= self.thresholds.restart_pages {
                    // What came meanwhile is copied too, so that the writer waits for little.
                    checkpoint(&self.conn, "PASSIVE");
                    let _closed = self.gate.close();
                    checkpoint(&self.conn, "RESTART");
                }
            }
        }
    }

    /// Cuts the log off, and does something before the writer goes on. The writer then reads anew what it knew
    /// of the database.
    fn cut<T>(&self, then: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
        checkpoint(&self.conn, "PASSIVE");
        let _closed = self.gate.close();
        if !checkpoint(&self.conn, "TRUNCATE") {
            return Err(Trouble::LogInUse);
        }
        then()
    }

    fn wipe(&self, pages: Range<u64>) -> Result<bool, Trouble> {
        let is_more = Pages::open(&self.file)?.count() > pages.end;
        let soiled = Pages::open(&self.file)?.soiled(pages)?;
        // A little at a time, so that the writer waits for little.
        for soiled in soiled.chunks(WIPED_AT_ONCE) {
            self.cut(|| {
                self.gate.state().is_wiped = true;
                Ok(Pages::open(&self.file)?.wipe(soiled)?)
            })?;
        }
        Ok(is_more)
    }
}

/// The most pages that are wiped while the writer stands still.
const WIPED_AT_ONCE: usize = 512;

/// Makes a checkpoint. Answers whether it did all that its mode says.
fn checkpoint(conn: &Connection, mode: &str) -> bool {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let outcome = conn
        .query_row(&sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
    match outcome {
        Ok((busy, wal_pages, copied)) => {
            tracing::debug!(mode, busy, wal_pages, copied, "checkpoint: {copied} of {wal_pages} pages");
            busy == 0
        }
        Err(error) => {
            tracing::warn!(mode, %error, "a checkpoint failed: {error}; the next one goes on");
            false
        }
    }
}
