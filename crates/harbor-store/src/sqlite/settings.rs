//! What the embedded store can be told.

use std::path::PathBuf;
use std::time::Duration;

use crate::directory::InstanceLayer;
use crate::sqlite::checkpoint::Thresholds;
use crate::sqlite::writer::Bounds;
use crate::turns::Room;

/// What the embedded store can be told. Every limit has its name here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database's file; none keeps everything in memory, which is for tests.
    pub path: Option<PathBuf>,
    /// Does everything in the caller's thread, one thing at a time: for simulations and tests.
    pub inline: bool,
    /// Connections that read what publish and delivery wait for.
    pub readers: usize,
    /// Connections that read what people look at.
    pub browsers: usize,
    /// After how long a read is cut.
    pub read_time_max: Duration,
    /// The most rows' worth of changes in one transaction.
    pub batch_items_max: usize,
    /// The most payload bytes in one transaction.
    pub batch_bytes_max: usize,
    /// How long a transaction takes in more changes.
    pub batch_time_max: Duration,
    /// The most rows' worth of changes that wait for the writer. Beyond it, a tenant's events are refused
    /// unless less than an equal share of it waits for that tenant. What is not an event is never refused.
    pub queue_items_max: usize,
    /// The most rows' worth of events of one tenant that wait for the writer. A tenant that has none waiting
    /// is not refused, however large its batch is.
    pub tenant_queue_items_max: usize,
    /// Bytes of the write-ahead log at which it is copied beside the writer.
    pub wal_passive_bytes: u64,
    /// Bytes of the write-ahead log at which the writer waits until the log begins anew.
    pub wal_restart_bytes: u64,
    /// Bytes of pages that the writer keeps in memory.
    pub writer_cache_bytes: u64,
    /// Bytes of pages that each reader keeps in memory.
    pub reader_cache_bytes: u64,
    /// The most tenants whose snapshots are kept in memory.
    pub directory_tenants_max: usize,
    /// What the instance says for every tenant.
    pub instance: InstanceLayer,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: None,
            inline: false,
            readers: 2,
            browsers: 4,
            read_time_max: Duration::from_millis(500),
            batch_items_max: 512,
            batch_bytes_max: 4 << 20,
            batch_time_max: Duration::from_millis(5),
            queue_items_max: 16_384,
            tenant_queue_items_max: 8_192,
            wal_passive_bytes: 16 << 20,
            wal_restart_bytes: 256 << 20,
            writer_cache_bytes: 32 << 20,
            reader_cache_bytes: 4 << 20,
            directory_tenants_max: 10_000,
            instance: InstanceLayer::default(),
        }
    }
}

/// Says which setting cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct SettingsError {
    /// The setting.
    pub name: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Bytes of a page of the database.
pub(crate) const PAGE_BYTES: u64 = 8192;

impl Settings {
    /// A store in memory that works in the caller's thread.
    pub fn in_memory() -> Self {
        Self { inline: true, ..Self::default() }
    }

    /// Names every setting that cannot be.
    pub fn validate(&self) -> Result<(), Vec<SettingsError>> {
        let rules = [
            (self.path.is_none() && !self.inline, "inline", "a store in memory must be inline"),
            (self.readers == 0, "readers", "must be at least 1"),
            (self.browsers == 0, "browsers", "must be at least 1"),
            (self.read_time_max.is_zero(), "read_time_max", "must be longer than nothing"),
            (self.batch_items_max == 0, "batch_items_max", "must be at least 1"),
            (self.batch_bytes_max == 0, "batch_bytes_max", "must be at least 1"),
            (self.queue_items_max < self.batch_items_max, "queue_items_max", "must hold a batch"),
            (self.tenant_queue_items_max == 0, "tenant_queue_items_max", "must be at least 1"),
            (self.wal_passive_bytes < PAGE_BYTES, "wal_passive_bytes", "must hold a page"),
            (
                self.wal_restart_bytes < self.wal_passive_bytes,
                "wal_restart_bytes",
                "must be at least wal_passive_bytes",
            ),
            (self.directory_tenants_max == 0, "directory_tenants_max", "must be at least 1"),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _, _)| *is_broken);
        let errors: Vec<_> = broken.map(|(_, name, reason)| SettingsError { name, reason }).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            items_max: self.batch_items_max,
            bytes_max: self.batch_bytes_max,
            time_max: self.batch_time_max,
        }
    }

    pub(crate) fn room(&self) -> Room {
        Room { weight_max: self.queue_items_max, tenant_weight_max: self.tenant_queue_items_max }
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        Thresholds {
            passive_pages: self.wal_passive_bytes / PAGE_BYTES,
            restart_pages: self.wal_restart_bytes / PAGE_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_cannot_be_is_named_at_once() {
        assert_eq!(Settings::in_memory().validate(), Ok(()));
        let file = Settings { path: Some("data/harborhook.db".into()), ..Settings::default() };
        assert_eq!(file.validate(), Ok(()));
        let broken =
            Settings { path: None, inline: false, readers: 0, batch_items_max: 0, ..Settings::default() };
        let names: Vec<_> = broken.validate().unwrap_err().into_iter().map(|error| error.name).collect();
        assert_eq!(names, ["inline", "readers", "batch_items_max"]);
    }
}
