//! The buffer between those who log and the file, and the thread that empties it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::logs::LogsError;

/// So long lines gather before they are written: one write, and one wake-up, for many of them.
const GATHER: Duration = Duration::from_millis(20);

/// A buffer that has grown larger than this is given back after it was written.
const BUFFER_BYTES_KEPT: usize = 256 * 1024;

/// Takes lines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    bytes_max: usize,
    lines_dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    is_closing: bool,
    is_reopening: bool,
}

/// The thread that writes. Dropping this writes what waits and ends the thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the file, or standard error, and starts the thread.
pub(crate) fn open(path: Option<PathBuf>, bytes_max: usize) -> Result<(Sink, Writer), LogsError> {
    let output = Output::open(path).map_err(|(path, source)| LogsError::File { path, source })?;
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        changed: Condvar::new(),
        bytes_max,
        lines_dropped: AtomicU64::new(0),
    });
    let of_thread = Arc::clone(&shared);
    let thread = thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || of_thread.write_all(output))
        .map_err(LogsError::Thread)?;
    Ok((Sink(Arc::clone(&shared)), Writer { shared, thread: Some(thread) }))
}

impl Sink {
    /// Takes whole lines, unless there is no room for them.
    pub(crate) fn append(&self, lines: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.lines.len() + lines.len() > self.0.bytes_max {
            drop(waiting);
            self.0.drop_lines(lines);
            return;
        }
        let was_empty = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(lines);
        drop(waiting);
        if was_empty {
            self.0.changed.notify_one();
        }
    }

    /// Has the file opened anew before the next write.
    pub(crate) fn reopen(&self) {
        self.0.lock().is_reopening = true;
        self.0.changed.notify_one();
    }

    /// How many lines were lost.
    pub(crate) fn lines_dropped(&self) -> u64 {
        self.0.lines_dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_lines(&self, lines: &[u8]) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        self.lines_dropped.fetch_add(count.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Writes until the sink is closed and empty.
    fn write_all(&self, mut output: Output) {
        let mut batch = Vec::new();
        loop {
            let is_quiet = |w: &mut Waiting| w.lines.is_empty() && !w.is_closing && !w.is_reopening;
            let waiting =
                self.changed.wait_while(self.lock(), is_quiet).unwrap_or_else(PoisonError::into_inner);
            let is_gathering = |w: &mut Waiting| !w.is_closing && !w.is_reopening;
            let (mut waiting, _) = self
                .changed
                .wait_timeout_while(waiting, GATHER, is_gathering)
                .unwrap_or_else(PoisonError::into_inner);

            std::mem::swap(&mut batch, &mut waiting.lines);
            let is_reopening = std::mem::take(&mut waiting.is_reopening);
            let is_closing = waiting.is_closing;
            drop(waiting);

            // What came before the file was moved away belongs to the old one.
            if output.write_all(&batch).is_err() {
                self.drop_lines(&batch);
            }
            batch.clear();
            batch.shrink_to(BUFFER_BYTES_KEPT);
            if is_reopening {
                output.reopen();
            }
            if is_closing {
                return;
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // If the thread has panicked there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Where lines end up.
enum Output {
    StandardError,
    File { path: PathBuf, file: File },
}

impl Output {
    fn open(path: Option<PathBuf>) -> Result<Self, (PathBuf, io::Error)> {
        let Some(path) = path else { return Ok(Self::StandardError) };
        match append_to(&path) {
            Ok(file) => Ok(Self::File { path, file }),
            Err(error) => Err((path, error)),
        }
    }

    fn write_all(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::StandardError => io::stderr().lock().write_all(lines),
            Self::File { file, .. } => file.write_all(lines),
        }
    }

    /// Opens the file by its name again; keeps the old one where that fails.
    fn reopen(&mut self) {
        if let Self::File { path, file } = self
            && let Ok(opened) = append_to(path)
        {
            *file = opened;
        }
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Hands whole lines of text to the sink.
impl Write for &Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.append(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Sink;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_dropped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (sink, writer) = open(Some(path.clone()), 10).unwrap();
        sink.append(b"12345678901\n");
        sink.append(b"one\ntwo\n34567890\n");
        assert_eq!(sink.lines_dropped(), 4);
        sink.append(b"fits\n");
        drop(writer);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "fits\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let (sink, writer) = open(Some(path.clone()), 1000).unwrap();
        sink.append(b"before\n");
        std::fs::rename(&path, &moved).unwrap();
        sink.reopen();
        while !path.exists() {
            thread::yield_now();
        }
        sink.append(b"after\n");
        drop(writer);
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "after\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = open(Some("/nowhere/at/all".into()), 10).err().unwrap().to_string();
        assert!(error.starts_with("cannot open the log file /nowhere/at/all: "), "{error}");
    }
}
