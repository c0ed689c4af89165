//! Copies the write-ahead log into the database, beside the writer rather than in its way.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// When the log is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Pages that are copied without waiting for anybody.
    pub(crate) passive_pages: u64,
    /// Pages at which the writer is made to wait, so that the log begins anew.
    pub(crate) restart_pages: u64,
}

/// The thread that makes checkpoints; it sleeps until the writer wakes it. Dropping this ends it.
pub(crate) struct Checkpoints {
    wake: Option<Sender<u64>>,
    thread: Option<JoinHandle<()>>,
    gate: Arc<Gate>,
    thresholds: Thresholds,
    seen: u64,
    wake_at: u64,
}

impl Checkpoints {
    /// Starts the thread on a connection of its own.
    pub(crate) fn start(conn: Connection, thresholds: Thresholds) -> std::io::Result<Self> {
        let (wake, woken) = channel();
        let gate = Arc::new(Gate::default());
        let held = gate.clone();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || run(&conn, &woken, thresholds, &held))?;
        Ok(Self {
            wake: Some(wake),
            thread: Some(thread),
            gate,
            thresholds,
            seen: 0,
            wake_at: thresholds.passive_pages,
        })
    }

    /// Waits, before a transaction, for a checkpoint that needs the writer to stand still.
    pub(crate) fn let_pass(&self) {
        self.gate.pass();
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
            if let Some(wake) = &self.wake {
                // The thread ends only with this sender.
                let _ = wake.send(wal_pages);
            }
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        drop(self.wake.take());
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
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut is_closed = self.is_closed.lock().expect("no holder panics");
        while *is_closed {
            is_closed = self.opened.wait(is_closed).expect("no holder panics");
        }
    }

    fn close(&self) -> Closed<'_> {
        *self.is_closed.lock().expect("no holder panics") = true;
        Closed(self)
    }
}

/// Keeps the gate closed until it is dropped.
struct Closed<'a>(&'a Gate);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        *self.0.is_closed.lock().expect("no holder panics") = false;
        self.0.opened.notify_all();
    }
}

fn run(conn: &Connection, woken: &Receiver<u64>, thresholds: Thresholds, gate: &Gate) {
    while let Ok(first) = woken.recv() {
        let wal_pages = woken.try_iter().last().unwrap_or(first);
        checkpoint(conn, "PASSIVE");
        if wal_pages >= thresholds.restart_pages {
            // What came meanwhile is copied too, so that the writer waits for little.
            checkpoint(conn, "PASSIVE");
            let _closed = gate.close();
            checkpoint(conn, "RESTART");
        }
    }
}

fn checkpoint(conn: &Connection, mode: &str) {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let outcome = conn
        .query_row(&sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
    match outcome {
        Ok((busy, wal_pages, copied)) => {
            tracing::debug!(mode, busy, wal_pages, copied, "checkpoint: {copied} of {wal_pages} pages");
        }
        Err(error) => tracing::warn!(mode, %error, "a checkpoint failed: {error}; the next one goes on"),
    }
}
