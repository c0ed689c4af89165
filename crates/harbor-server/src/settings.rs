//! Settings: one tree, filled from flags, environment, file and defaults, in this order of strength.
//!
//! [`table`] names every setting; [`load`] fills the tree by it, and knows for each value where it came
//! from and for each mistake where it stands. Each crate declares its own limits and rules.

pub(crate) mod load;
pub(crate) mod print;
pub(crate) mod table;
pub(crate) mod value;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use harbor_model::invalid::FieldError;
use harbor_model::policy::InstancePolicy;
use harbor_model::policy::written::{WrittenPolicy, WrittenQuota, WrittenRetention};
use harbor_model::secret::Secret;
use harbor_observe::{logs, metrics};
use harbor_store::{postgres, sqlite};
use ipnet::IpNet;
use url::Url;

use crate::listen;
use crate::settings::value::{DatabaseUrl, Queue, Role};

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) server: ServerSettings,
    pub(crate) security: SecuritySettings,
    pub(crate) store: StoreSettings,
    pub(crate) api: harbor_api::settings::Settings,
    pub(crate) publish: harbor_ingest::request::Settings,
    pub(crate) policy: WrittenPolicy,
    pub(crate) quota: WrittenQuota,
    pub(crate) retention: WrittenRetention,
    pub(crate) worker: harbor_deliver::worker::Settings,
    pub(crate) send: harbor_deliver::send::settings::SendSettings,
    pub(crate) replay: harbor_recover::dead_letters::Settings,
    /// What it shares with single replays is in `replay`.
    pub(crate) jobs: harbor_recover::jobs::Settings,
    pub(crate) job_runner: harbor_recover::jobs::runner::Settings,
    pub(crate) upkeep: harbor_recover::upkeep::Settings,
    pub(crate) leadership: harbor_recover::leadership::Settings,
    pub(crate) log: logs::Settings,
    pub(crate) metrics: metrics::Settings,
}

/// What this process does, where it is reached, and what it allows to connections.
#[derive(Clone, Debug)]
pub(crate) struct ServerSettings {
    pub(crate) roles: Vec<Role>,
    pub(crate) queue: Queue,
    pub(crate) listen: SocketAddr,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) public_url: Option<Url>,
    pub(crate) data_dir: PathBuf,
    pub(crate) shutdown_grace: Duration,
    pub(crate) connections: listen::Settings,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            roles: vec![Role::All],
            queue: Queue::default(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            ops_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            public_url: None,
            data_dir: "./harborhook-data".into(),
            shutdown_grace: Duration::from_secs(30),
            connections: listen::Settings::default(),
        }
    }
}

/// The database's name in the data directory.
const DATABASE_FILE: &str = "harborhook.db";

/// The store.
#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    pub(crate) database_url: Option<DatabaseUrl>,
    pub(crate) sqlite: sqlite::Settings,
    /// Its URL is in `database_url`.
    pub(crate) postgres: postgres::Settings,
}

impl Default for StoreSettings {
    fn default() -> Self {
        let nowhere = Secret::new(String::new());
        Self {
            database_url: None,
            sqlite: sqlite::Settings::default(),
            postgres: postgres::Settings::at(nowhere),
        }
    }
}

/// Which store, with what it can be told.
pub(crate) enum ChosenStore {
    /// The embedded one.
    Sqlite(sqlite::Settings),
    /// A PostgreSQL server.
    Postgres(postgres::Settings),
}

impl Settings {
    /// The file of the embedded store; none where the store is another one.
    pub(crate) fn store_file(&self) -> Option<PathBuf> {
        match &self.store.database_url {
            Some(DatabaseUrl::Sqlite(file)) => Some(file.clone()),
            Some(DatabaseUrl::Postgres(_)) => None,
            None => Some(self.server.data_dir.join(DATABASE_FILE)),
        }
    }

    /// Whether this process has a role.
    pub(crate) fn has_role(&self, role: Role) -> bool {
        let roles = &self.server.roles;
        roles.contains(&Role::All) || roles.contains(&role)
    }

    /// The rules that values break together, each with the key, or the section, to blame.
    pub(crate) fn broken_rules(&self) -> Vec<FieldError> {
        let mut broken = Vec::new();
        let security = &self.security;
        for (what, is_twice) in [
            ("operator", security.operator_key.is_some() && security.operator_key_file.is_some()),
            ("master", security.master_key.is_some() && security.master_key_file.is_some()),
        ] {
            if is_twice {
                let field = format!("security.{what}_key_file");
                broken.push(FieldError::new(
                    field,
                    format!("is given beside the {what} key: give one of them"),
                ));
            }
        }
        broken.extend(self.broken_roles());
        let (section, of_store) = match self.chosen_store() {
            ChosenStore::Sqlite(settings) => ("store", settings.validate()),
            ChosenStore::Postgres(settings) => ("postgres", settings.validate()),
        };
        let of_store = of_store.err().unwrap_or_default();
        broken.extend(of_store.iter().map(|e| FieldError::new(format!("{section}.{}", e.name), e.reason)));
        let of_api = self.api.validate().err().unwrap_or_default();
        broken.extend(of_api.iter().map(|rule| FieldError::new("api", rule)));
        let of_worker = [self.worker.validate(), self.send.validate()];
        broken.extend(of_worker.iter().filter_map(|rule| Some(FieldError::new("worker", rule.err()?))));
        for (section, errors) in [("log", self.log.validate()), ("metrics", self.metrics.validate())] {
            let named =
                |error: FieldError| FieldError::new(format!("{section}.{}", error.field), error.message);
            broken.extend(errors.into_iter().map(named));
        }
        let of_leadership = self.leadership.validate().err();
        broken.extend(of_leadership.map(|rule| FieldError::new("leadership", rule)));
        let of_runner = self.job_runner.validate().err();
        broken.extend(of_runner.map(|rule| FieldError::new("jobs", rule)));
        broken.extend(self.instance_policy().err().unwrap_or_default());
        broken
    }

    /// What every tenant and endpoint inherits.
    pub(crate) fn instance_policy(&self) -> Result<InstancePolicy, Vec<FieldError>> {
        let (delivery, quota, retention) =
            (self.policy.layer("policy."), self.quota.layer(""), self.retention.layer(""));
        match (delivery, quota, retention) {
            (Ok(delivery), Ok(quota), Ok(retention)) => Ok(InstancePolicy { delivery, quota, retention }),
            (delivery, quota, retention) => {
                let broken = [delivery.err(), quota.err(), retention.err()];
                Err(broken.into_iter().flatten().flatten().collect())
            }
        }
    }

    /// The limits of jobs.
    pub(crate) fn job_limits(&self) -> harbor_recover::jobs::Settings {
        let harbor_recover::dead_letters::Settings { reason_chars_max, key_chars_max, idempotency_window } =
            self.replay;
        harbor_recover::jobs::Settings {
            reason_chars_max,
            key_chars_max,
            idempotency_window,
            ..self.jobs.clone()
        }
    }

    fn broken_roles(&self) -> Option<FieldError> {
        const FIELD: &str = "server.roles";
        let roles = [Role::Api, Role::Worker, Role::Scheduler];
        if !roles.iter().any(|role| self.has_role(*role)) {
            return Some(FieldError::new(FIELD, "must name at least one role"));
        }
        let is_whole = roles.iter().all(|role| self.has_role(*role));
        let is_embedded = self.store_file().is_some();
        (is_embedded && !is_whole).then(|| {
            FieldError::new(
                FIELD,
                "must be all with the embedded store, which one process has to itself: \
                 several processes share a store.database_url of postgres://",
            )
        })
    }

    /// The store that is wanted, with its settings.
    pub(crate) fn chosen_store(&self) -> ChosenStore {
        match &self.store.database_url {
            Some(DatabaseUrl::Postgres(url)) => {
                ChosenStore::Postgres(postgres::Settings { url: url.clone(), ..self.store.postgres.clone() })
            }
            Some(DatabaseUrl::Sqlite(_)) | None => {
                ChosenStore::Sqlite(sqlite::Settings { path: self.store_file(), ..self.store.sqlite.clone() })
            }
        }
    }
}

/// Keys, and what endpoints may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecuritySettings {
    pub(crate) operator_key: Option<Secret>,
    pub(crate) operator_key_file: Option<PathBuf>,
    pub(crate) master_key: Option<Secret>,
    pub(crate) master_key_file: Option<PathBuf>,
    pub(crate) allow_http: bool,
    pub(crate) allowed_subnets: Vec<IpNet>,
    pub(crate) extra_roots_file: Option<PathBuf>,
}
