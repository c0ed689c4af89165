//! The database as the ports use it: hand in a change, or read.

use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use rusqlite::Connection;

use crate::sqlite::checkpoint::{Checkpoints, Wiper};
use crate::sqlite::readers::Readers;
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Core, Weight, Work, Writer};

/// One writer and a few readers; or, inline, one connection for everything.
pub(crate) struct Database {
    mode: Mode,
    /// None in memory, where there is no file.
    wiper: Option<Wiper>,
    _files: Files,
}

/// What is kept open for as long as any connection is.
#[derive(Default)]
pub(crate) struct Files {
    /// Keeps other processes out.
    pub(crate) _lock: Option<File>,
    /// The database's own.
    pub(crate) database: Option<Arc<File>>,
}

enum Mode {
    Threaded { writer: Writer, readers: Readers, browsers: Readers },
    Inline(Box<Mutex<Core>>),
}

impl Database {
    pub(crate) fn threaded(
        writer: Writer,
        readers: Readers,
        browsers: Readers,
        wiper: Wiper,
        files: Files,
    ) -> Self {
        Self { mode: Mode::Threaded { writer, readers, browsers }, wiper: Some(wiper), _files: files }
    }

    pub(crate) fn inline(core: Core, files: Files) -> Self {
        let wiper = core.checkpoints.as_ref().map(Checkpoints::wiper);
        Self { mode: Mode::Inline(Box::new(Mutex::new(core))), wiper, _files: files }
    }

    /// Makes a change that belongs to no tenant's turn, and waits for its commit.
    pub(crate) async fn write<W: Work>(&self, weight: Weight, work: W) -> Result<W::Answer, Fault> {
        self.hand_in(None, weight, work).await
    }

    /// Hands in a change, of a tenant or of none; what comes back waits for its commit.
    pub(crate) fn hand_in<W: Work>(
        &self,
        tenant: Option<TenantId>,
        weight: Weight,
        work: W,
    ) -> impl Future<Output = Result<W::Answer, Fault>> + Send + use<W> {
        match &self.mode {
            Mode::Threaded { writer, .. } => Answer::Later(writer.hand_in(tenant, weight, work)),
            Mode::Inline(core) => {
                let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
                Answer::Now(core.run_inline(work))
            }
        }
        .wait()
    }

    /// Hands in changes of one tenant, all or none; what comes back waits for the commit of each. None where
    /// the tenant has too much waiting.
    pub(crate) fn offer<W: Work>(
        &self,
        tenant: &TenantId,
        works: Vec<(Weight, W)>,
    ) -> Option<Vec<impl Future<Output = Result<W::Answer, Fault>> + Send + use<W>>> {
        let answers: Vec<_> = match &self.mode {
            Mode::Threaded { writer, .. } => {
                writer.offer(tenant, works)?.into_iter().map(Answer::Later).collect()
            }
            Mode::Inline(core) => {
                let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
                works.into_iter().map(|(_, work)| Answer::Now(core.run_inline(work))).collect()
            }
        };
        Some(answers.into_iter().map(Answer::wait).collect())
    }

    /// Makes a small change that is a function and belongs to no tenant's turn, and runs `committed` after its
    /// commit, before the answer.
    pub(crate) fn change<T, F, C>(
        &self,
        change: F,
        committed: C,
    ) -> impl Future<Output = Result<T, Fault>> + Send
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, Trouble> + Send + 'static,
        C: FnOnce(&T) + Send + 'static,
    {
        self.write(Weight::ONE, SmallChange { change, committed })
    }

    /// Makes a small change that is a function, in the tenant's turn.
    pub(crate) fn change_of<T, F>(
        &self,
        tenant: TenantId,
        change: F,
    ) -> impl Future<Output = Result<T, Fault>> + Send
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, Trouble> + Send + 'static,
    {
        self.hand_in(Some(tenant), Weight::ONE, SmallChange { change, committed: |_: &T| () })
    }

    /// Reads, in one snapshot, what publish or delivery waits for.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    {
        match &self.mode {
            Mode::Threaded { readers, .. } => readers.read(read).await,
            Mode::Inline(core) => read_inline(core, read),
        }
    }

    /// Reads, in one snapshot, what people look at. They have connections of their own, so that no one's
    /// long lists stand before anyone's deliveries.
    pub(crate) async fn browse<T, F>(&self, read: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    {
        match &self.mode {
            Mode::Threaded { browsers, .. } => browsers.read(read).await,
            Mode::Inline(core) => read_inline(core, read),
        }
    }

    /// Leaves nothing in the log: what is committed stands in the database alone.
    pub(crate) async fn cut_log(&self) -> Result<(), Fault> {
        match &self.wiper {
            Some(wiper) => wiper.cut_log().await,
            None => Ok(()),
        }
    }

    /// Wipes the unused parts of these pages of the file, counted from 0. Answers whether there are more pages
    /// behind them.
    pub(crate) async fn wipe(&self, pages: Range<u64>) -> Result<bool, Fault> {
        match &self.wiper {
            Some(wiper) => wiper.wipe(pages).await,
            None => Ok(false),
        }
    }

    /// Works off what was handed in, waits for the reads, and leaves one tidy file behind.
    pub(crate) async fn close(&self) {
        if let Mode::Threaded { writer, readers, browsers } = &self.mode {
            readers.close().await;
            browsers.close().await;
            writer.close();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Mode::Threaded { writer, .. } = &self.mode {
            writer.close();
        }
    }
}

fn read_inline<T>(
    core: &Mutex<Core>,
    read: impl FnOnce(&Connection) -> Result<T, Trouble>,
) -> Result<T, Fault> {
    let core = core.lock().unwrap_or_else(PoisonError::into_inner);
    read(&core.conn).map_err(|trouble| trouble.into_fault("read"))
}

/// The answer to a change: at hand, or on its way.
enum Answer<T, F> {
    Now(Result<T, Fault>),
    Later(F),
}

impl<T, F: Future<Output = Result<T, Fault>>> Answer<T, F> {
    async fn wait(self) -> Result<T, Fault> {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

struct SmallChange<F, C> {
    change: F,
    committed: C,
}

impl<T, F, C> Work for SmallChange<F, C>
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> Result<T, Trouble> + Send + 'static,
    C: FnOnce(&T) + Send + 'static,
{
    type Answer = T;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<T, Trouble> {
        (self.change)(tx)
    }

    fn committed(self, answer: &T) {
        (self.committed)(answer);
    }
}
