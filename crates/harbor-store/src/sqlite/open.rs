//! Opens the store: directory, lock, connections, migrations, master key, threads.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harbor_model::chance::Rng;
use harbor_model::port::observer::Observer;
use harbor_model::time::Clock;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tokio::sync::watch;

use crate::directory::DirectoryCache;
use crate::keyring::Keyring;
use crate::seal::MasterKey;
use crate::sqlite::SqliteStore;
use crate::sqlite::checkpoint::Checkpoints;
use crate::sqlite::database::{Database, Files};
use crate::sqlite::migrations;
use crate::sqlite::readers::Readers;
use crate::sqlite::settings::{PAGE_BYTES, Settings, SettingsError};
use crate::sqlite::sweep::SweepWalk;
use crate::sqlite::transaction::Memory;
use crate::sqlite::upkeep::OrphanWalk;
use crate::sqlite::workers::Leaders;
use crate::sqlite::writer::{Core, Writer};

/// The end of the name of the file, beside the database's, that keeps other processes out.
const LOCK_EXTENSION: &str = "lock";

/// Statements that a connection keeps prepared; more than there are.
const STATEMENTS_KEPT: usize = 256;

/// How long a connection waits for another that holds it up. Far longer than a checkpoint takes.
const WAITS_MAX: Duration = Duration::from_secs(60);

/// Says why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Settings that cannot be.
    #[error("the store's settings cannot be: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<SettingsError>),
    /// The file system says no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process works with the database.
    #[error("another process uses this store: it holds {}", path.display())]
    Locked {
        /// The file that it holds.
        path: PathBuf,
    },
    /// SQLite says no.
    #[error("cannot {doing} the database: {source}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// A migration failed.
    #[error("cannot migrate the database: {source}")]
    Migration {
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer program wrote the database.
    #[error("the database has version {found}, this program knows up to {known}: use a newer one")]
    Newer {
        /// The database's version.
        found: i64,
        /// The newest version that is known.
        known: i64,
    },
    /// Its secrets are sealed under another master key.
    #[error("the master key is not the one that this store's secrets are sealed under")]
    WrongMasterKey,
}

impl OpenError {
    pub(super) fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite { doing, source }
    }

    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Brings the database in this file to the present version, without starting anything else.
/// Answers the names of the migrations that were applied.
pub fn migrate(file: &Path) -> Result<Vec<String>, OpenError> {
    let place = Place::prepare(Some(file))?;
    let mut conn = place.open_writer(&Settings::default())?;
    migrations::migrate(&mut conn)
}

impl SqliteStore {
    /// Opens the store, migrated to the present version. Must be called outside of the async runtime's
    /// hot path: it waits for the disk.
    pub fn open(
        settings: Settings,
        master: MasterKey,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Self>, OpenError> {
        settings.validate().map_err(OpenError::Settings)?;
        let place = Place::prepare(settings.path.as_deref())?;
        let mut conn = place.open_writer(&settings)?;
        migrations::migrate(&mut conn)?;
        check_master_key(&conn, &master)?;
        // What a crash left in the log may be of somebody who was purged since.
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(OpenError::sqlite("tidy"))?;

        // After `wal_autocheckpoint` is set, which takes the place of any hook.
        let wal_pages = Arc::new(AtomicU64::new(0));
        let seen = wal_pages.clone();
        conn.wal_hook(Some(move |_: &mut _, pages: i32| {
            seen.store(u64::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(OpenError::sqlite("watch"))?;
        let core = Core {
            conn,
            bounds: settings.bounds(),
            clock: clock.clone(),
            observer,
            memory: Memory::new(rng.clone()),
            wal_pages,
            checkpoints: None,
        };
        let database = start(place, core, &settings, &clock)?;
        Ok(Arc::new(Self {
            database,
            bounds: settings.bounds(),
            leases: Arc::default(),
            keyring: Arc::new(Keyring::new(master)),
            directory: Arc::new(DirectoryCache::new(settings.directory_tenants_max)),
            instance: Arc::new(settings.instance),
            leaders: Leaders::default(),
            orphan_walk: OrphanWalk::default(),
            sweep_walk: SweepWalk::default(),
            hints: watch::Sender::new(0),
            clock,
            rng,
        }))
    }
}

fn start(
    place: Place,
    mut core: Core,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Result<Database, OpenError> {
    let path = match &place.database {
        Some(path) if !settings.inline => path.clone(),
        _ => {
            if let Some(path) = &place.database {
                core.checkpoints = Some(place.start_checkpoints(path, settings)?);
            }
            return Ok(Database::inline(core, place.files));
        }
    };
    let pool = |count: usize| {
        let connections: Result<Vec<_>, _> =
            (0..count).map(|_| open_reader(&path, settings.reader_cache_bytes)).collect();
        Readers::new(connections?, clock.clone(), settings.read_time_max)
            .map_err(OpenError::sqlite("watch the reads of"))
    };
    let (readers, browsers) = (pool(settings.readers)?, pool(settings.browsers)?);
    let checkpoints = place.start_checkpoints(&path, settings)?;
    let wiper = checkpoints.wiper();
    core.checkpoints = Some(checkpoints);
    let writer = Writer::start(core, settings.room()).map_err(OpenError::io("start the writer of", &path))?;
    Ok(Database::threaded(writer, readers, browsers, wiper, place.files))
}

/// Where the store lies.
struct Place {
    /// None in memory.
    database: Option<PathBuf>,
    files: Files,
}

impl Place {
    /// Makes the file's directory, takes the lock, and makes the file so that only its owner may read it;
    /// SQLite gives the files beside it the same mode.
    fn prepare(file: Option<&Path>) -> Result<Self, OpenError> {
        let Some(database) = file else { return Ok(Self { database: None, files: Files::default() }) };
        if let Some(directory) = database.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make_directory(directory).map_err(OpenError::io("make the directory", directory))?;
        }
        let lock_path = database.with_extension(LOCK_EXTENSION);
        let lock = open_private(&lock_path).map_err(OpenError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: lock_path }),
            Err(TryLockError::Error(source)) => return Err(OpenError::io("lock", &lock_path)(source)),
        }
        let file = open_private(database).map_err(OpenError::io("open", database))?;
        let files = Files { _lock: Some(lock), database: Some(Arc::new(file)) };
        Ok(Self { database: Some(database.to_owned()), files })
    }

    fn open_writer(&self, settings: &Settings) -> Result<Connection, OpenError> {
        let open = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut conn = match &self.database {
                Some(path) => Connection::open_with_flags(path, flags)?,
                None => Connection::open_in_memory()?,
            };
            wait_in_small_steps(&mut conn)?;
            conn.pragma_update(None, "page_size", PAGE_BYTES)?;
            conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
            configure(&conn, settings.writer_cache_bytes)?;
            // What is deleted is overwritten: what is purged must not be found in the file. From the beginning,
            // since a page that was freed before is not looked at again.
            conn.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
            Ok(conn)
        };
        open().map_err(OpenError::sqlite("open"))
    }

    fn start_checkpoints(&self, path: &Path, settings: &Settings) -> Result<Checkpoints, OpenError> {
        let open = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut conn = Connection::open_with_flags(path, flags)?;
            wait_in_small_steps(&mut conn)?;
            configure(&conn, PAGE_BYTES)?;
            Ok(conn)
        };
        let conn = open().map_err(OpenError::sqlite("open"))?;
        let file = self.files.database.clone().expect("what has a path has a file");
        Checkpoints::start(conn, file, settings.thresholds())
            .map_err(OpenError::io("start the checkpoints of", path))
    }
}

fn open_reader(path: &Path, cache_bytes: u64) -> Result<Connection, OpenError> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(path, flags)?;
        wait_in_small_steps(&mut conn)?;
        configure(&conn, cache_bytes)?;
        Ok(conn)
    };
    open().map_err(OpenError::sqlite("open"))
}

/// Looks again each millisecond where another connection is in the way; SQLite's own pauses grow too long.
fn wait_in_small_steps(conn: &mut Connection) -> rusqlite::Result<()> {
    let waits_max = i32::try_from(WAITS_MAX.as_millis()).unwrap_or(i32::MAX);
    conn.busy_handler(Some(move |waited: i32| {
        std::thread::sleep(Duration::from_millis(1));
        waited < waits_max
    }))
}

/// What every connection is told.
fn configure(conn: &Connection, cache_bytes: u64) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Each commit is on the disk before it is answered; on macOS that takes more than fsync.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update(None, "checkpoint_fullfsync", true)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // A negative size counts KiB.
    conn.pragma_update(None, "cache_size", -i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX))?;
    // The checkpoints have a thread of their own.
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))
}

/// Remembers which master key seals the store's secrets, and refuses any other.
fn check_master_key(conn: &Connection, master: &MasterKey) -> Result<(), OpenError> {
    const NAME: &str = "master_key_fingerprint";
    let find = || -> rusqlite::Result<Option<Vec<u8>>> {
        conn.query_row("SELECT value FROM meta WHERE name = ?1", [NAME], |row| row.get(0)).optional()
    };
    match find().map_err(OpenError::sqlite("read"))? {
        Some(stored) if stored == master.fingerprint() => Ok(()),
        Some(_) => Err(OpenError::WrongMasterKey),
        None => {
            let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2)";
            conn.execute(sql, (NAME, master.fingerprint())).map_err(OpenError::sqlite("write"))?;
            Ok(())
        }
    }
}

#[cfg(unix)]
fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
