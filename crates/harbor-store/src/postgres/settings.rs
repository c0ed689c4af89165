//! What the store in PostgreSQL can be told.

use std::time::Duration;

use harbor_model::secret::Secret;

use crate::directory::InstanceLayer;
use crate::postgres::batcher;
use crate::postgres::database;
use crate::sqlite::SettingsError;
use crate::turns::Room;

/// What the store in PostgreSQL can be told. Every limit has its name here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the database is: `postgres://user:password@host:port/database`. `sslmode` and `sslrootcert` mean
    /// what they mean to libpq.
    pub url: Secret,
    /// Connections that store what is published.
    pub publishers: usize,
    /// Connections that record what came of attempts.
    pub finishers: usize,
    /// Connections that read what publish and delivery wait for.
    pub readers: usize,
    /// Connections for what people look at and set up.
    pub browsers: usize,
    /// How long a connection may take to be made.
    pub connect_time_max: Duration,
    /// After how long a statement is cut.
    pub statement_time_max: Duration,
    /// The most rows' worth of changes in one statement.
    pub batch_items_max: usize,
    /// The most payload bytes in one statement.
    pub batch_bytes_max: usize,
    /// The most rows' worth of events that wait to be stored.
    pub queue_items_max: usize,
    /// The most rows' worth of one tenant's events that wait to be stored.
    pub tenant_queue_items_max: usize,
    /// The most tenants whose snapshots are kept in memory.
    pub directory_tenants_max: usize,
    /// What the instance says for every tenant.
    pub instance: InstanceLayer,
}

impl Settings {
    /// The defaults, for the database at this URL.
    pub fn at(url: Secret) -> Self {
        Self {
            url,
            publishers: 4,
            finishers: 1,
            readers: 4,
            browsers: 4,
            connect_time_max: Duration::from_secs(5),
            statement_time_max: Duration::from_secs(10),
            batch_items_max: 128,
            batch_bytes_max: 4 << 20,
            queue_items_max: 16_384,
            tenant_queue_items_max: 8_192,
            directory_tenants_max: 10_000,
            instance: InstanceLayer::default(),
        }
    }

    /// Names every setting that cannot be.
    pub fn validate(&self) -> Result<(), Vec<SettingsError>> {
        let rules = [
            (self.publishers == 0, "publishers", "must be at least 1"),
            (self.finishers == 0, "finishers", "must be at least 1"),
            (self.readers == 0, "readers", "must be at least 1"),
            (self.browsers == 0, "browsers", "must be at least 1"),
            (self.connect_time_max.is_zero(), "connect_time_max", "must be longer than nothing"),
            // Zero would tell the server to wait for ever.
            (self.statement_time_max.as_millis() == 0, "statement_time_max", "must be at least 1ms"),
            (self.batch_items_max == 0, "batch_items_max", "must be at least 1"),
            (self.batch_bytes_max == 0, "batch_bytes_max", "must be at least 1"),
            (self.queue_items_max < self.batch_items_max, "queue_items_max", "must hold a batch"),
            (self.tenant_queue_items_max == 0, "tenant_queue_items_max", "must be at least 1"),
            (
                self.tenant_queue_items_max > self.queue_items_max,
                "tenant_queue_items_max",
                "must be at most queue_items_max",
            ),
            (self.directory_tenants_max == 0, "directory_tenants_max", "must be at least 1"),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _, _)| *is_broken);
        let errors: Vec<_> = broken.map(|(_, name, reason)| SettingsError { name, reason }).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    pub(crate) fn connections(&self) -> database::Bounds {
        database::Bounds {
            writers: self.publishers + self.finishers,
            readers: self.readers,
            browsers: self.browsers,
            connect_time_max: self.connect_time_max,
            statement_time_max: self.statement_time_max,
        }
    }

    pub(crate) fn batches(&self) -> batcher::Bounds {
        batcher::Bounds { items_max: self.batch_items_max, bytes_max: self.batch_bytes_max }
    }

    pub(crate) fn room(&self) -> Room {
        Room { weight_max: self.queue_items_max, tenant_weight_max: self.tenant_queue_items_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_cannot_be_is_named_at_once() {
        let good = Settings::at(Secret::new("postgres://hook@localhost/hook".to_owned()));
        assert_eq!(good.validate(), Ok(()));
        let broken = Settings { browsers: 0, statement_time_max: Duration::ZERO, queue_items_max: 1, ..good };
        let names: Vec<_> = broken.validate().unwrap_err().into_iter().map(|error| error.name).collect();
        assert_eq!(names, ["browsers", "statement_time_max", "queue_items_max", "tenant_queue_items_max"]);
    }
}
