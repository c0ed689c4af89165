//! A few connections that only read, each read in a snapshot of its own and none for long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harbor_model::port::Fault;
use harbor_model::time::Clock;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::Semaphore;

use crate::sqlite::trouble::Trouble;

/// How many steps of SQLite's machine pass between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 4096;

/// A connection that reads, with the end of what it is reading.
struct Reader {
    conn: Connection,
    /// In microseconds of [`Clock::elapsed`].
    deadline: Arc<AtomicU64>,
}

/// A connection out of the pool; it goes back even where the read panics.
struct Borrowed {
    reader: Option<Reader>,
    idle: Arc<Mutex<Vec<Reader>>>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.deadline.store(u64::MAX, Ordering::Relaxed);
            self.idle.lock().expect("no holder panics").push(reader);
        }
    }
}

/// The pool.
pub(crate) struct Readers {
    idle: Arc<Mutex<Vec<Reader>>>,
    free: Arc<Semaphore>,
    count: usize,
    clock: Arc<dyn Clock>,
    time_max: Duration,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Readers {
    /// Pools these connections. A read that takes longer than `time_max` is cut: it would keep
    /// the write-ahead log from beginning anew.
    pub(crate) fn new(
        connections: Vec<Connection>,
        clock: Arc<dyn Clock>,
        time_max: Duration,
    ) -> rusqlite::Result<Self> {
        let count = connections.len();
        let free = Arc::new(Semaphore::new(count));
        let mut idle = Vec::with_capacity(connections.len());
        for mut conn in connections {
            let deadline = Arc::new(AtomicU64::new(u64::MAX));
            let (clock, end) = (clock.clone(), deadline.clone());
            let is_over = move || micros(clock.elapsed()) > end.load(Ordering::Relaxed);
            conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over))?;
            idle.push(Reader { conn, deadline });
        }
        Ok(Self { idle: Arc::new(Mutex::new(idle)), free, count, clock, time_max })
    }

    /// Reads, off the async runtime, in one snapshot.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    {
        let turn = self.free.clone().acquire_owned().await.expect("the semaphore is never closed");
        let idle = self.idle.clone();
        let (clock, time_max) = (self.clock.clone(), self.time_max);
        let reading = tokio::task::spawn_blocking(move || {
            // The turn ends last, so that whoever gets it finds the connection.
            let _turn = turn;
            let reader = idle.lock().expect("no holder panics").pop();
            let borrowed = Borrowed { reader, idle };
            // Those who close the store take the connections away.
            let reader = borrowed.reader.as_ref().ok_or(Trouble::Closed)?;
            reader.deadline.store(micros(clock.elapsed() + time_max), Ordering::Relaxed);
            read_in_snapshot(&reader.conn, read)
        });
        reading.await.unwrap_or(Err(Trouble::Panicked)).map_err(|trouble| trouble.into_fault("read"))
    }

    /// Waits for the reads under way and closes the connections.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.count).unwrap_or(u32::MAX);
        let _all = self.free.acquire_many(all).await.expect("the semaphore is never closed");
        self.idle.lock().expect("no holder panics").clear();
    }
}

fn read_in_snapshot<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    // Deferred: the snapshot is taken by the first statement of `read`, not here.
    let snapshot = conn.unchecked_transaction()?;
    let outcome = read(&snapshot);
    match &outcome {
        Err(Trouble::Sql(error)) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Err(Trouble::ReadTooLong)
        }
        _ => outcome,
    }
}
