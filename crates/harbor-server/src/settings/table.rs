//! The table of settings: what each is called, where it stands in the tree, and what it may be.

use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use harbor_model::policy::written::{
    ATTEMPTS, CONSECUTIVE_FAILURES, FACTOR, IN_FLIGHT, JITTER, P95_MS, PROBES, RATE, TIMEOUT_MS,
};
use toml::de::DeValue;

use crate::settings::Settings;
use crate::settings::value::{ByteSize, Value};

/// One setting.
pub(crate) struct Key {
    /// Section and name, like `server.listen`.
    pub(crate) name: &'static str,
    /// What it is for, for people.
    pub(crate) help: &'static str,
    /// The flag without its dashes, if it has one.
    pub(crate) flag: Option<&'static str>,
    /// A shorter name of its environment variable, if it has one.
    pub(crate) env_short: Option<&'static str>,
    field: Box<dyn Field>,
}

impl Key {
    /// Its environment variable: `HARBORHOOK_<SECTION>_<KEY>`.
    pub(crate) fn env(&self) -> String {
        format!("HARBORHOOK_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Sets it to what a flag or an environment variable says.
    pub(crate) fn read_text(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        self.field.read_text(settings, text)
    }

    /// Sets it to what stands in a file.
    pub(crate) fn read_toml(&self, settings: &mut Settings, value: &DeValue<'_>) -> Result<(), String> {
        self.field.read_toml(settings, value)
    }

    /// Its value as text; empty where it is not set.
    pub(crate) fn show(&self, settings: &Settings) -> String {
        self.field.show(settings)
    }

    /// What its value is, after "must be".
    pub(crate) fn kind(&self) -> &'static str {
        self.field.kind()
    }

    fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    fn short(mut self, env: &'static str) -> Self {
        self.env_short = Some(env);
        self
    }
}

/// A place in the tree, whatever its type.
trait Field: Send + Sync {
    fn read_text(&self, settings: &mut Settings, text: &str) -> Result<(), String>;
    fn read_toml(&self, settings: &mut Settings, value: &DeValue<'_>) -> Result<(), String>;
    fn show(&self, settings: &Settings) -> String;
    fn kind(&self) -> &'static str;
}

/// A place in the tree for values of one type.
struct Lens<V> {
    get: fn(&Settings) -> V,
    set: fn(&mut Settings, V),
    check: Check<V>,
}

/// Says what is wrong with a value.
type Check<V> = Box<dyn Fn(&V) -> Result<(), String> + Send + Sync>;

impl<V> Lens<V> {
    fn new(get: fn(&Settings) -> V, set: fn(&mut Settings, V)) -> Self {
        Self { get, set, check: Box::new(|_| Ok(())) }
    }

    fn put(&self, settings: &mut Settings, value: V) -> Result<(), String> {
        (self.check)(&value)?;
        (self.set)(settings, value);
        Ok(())
    }
}

impl<V: Value + PartialOrd + Send + Sync + 'static> Lens<V> {
    fn within(mut self, least: V, most: V) -> Self {
        self.check = Box::new(move |value| {
            if *value < least {
                return Err(format!("must be at least {}", least.show()));
            }
            if *value > most { Err(format!("must be at most {}", most.show())) } else { Ok(()) }
        });
        self
    }
}

impl<V: Value + PartialOrd + Send + Sync + 'static> Lens<Option<V>> {
    /// Holds the value against the bounds that the model gives it.
    fn bounded(self, bounds: RangeInclusive<V>) -> Self {
        let (least, most) = bounds.into_inner();
        self.within(Some(least), Some(most))
    }
}

impl<V: Value> Field for Lens<V> {
    fn read_text(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        self.put(settings, V::from_text(text)?)
    }

    fn read_toml(&self, settings: &mut Settings, value: &DeValue<'_>) -> Result<(), String> {
        self.put(settings, V::from_toml(value)?)
    }

    fn show(&self, settings: &Settings) -> String {
        (self.get)(settings).show()
    }

    fn kind(&self) -> &'static str {
        V::KIND
    }
}

/// The place at this path.
macro_rules! at {
    ($($path:ident).+) => {
        Lens::new(|s| Clone::clone(&s.$($path).+), |s, value| s.$($path).+ = value)
    };
}

/// A type that a number of bytes has in the tree.
trait Bytes {
    fn of_size(size: ByteSize) -> Self;
    fn to_size(&self) -> ByteSize;
}

impl Bytes for u64 {
    fn of_size(size: ByteSize) -> Self {
        size.0
    }

    fn to_size(&self) -> ByteSize {
        ByteSize(*self)
    }
}

impl Bytes for usize {
    fn of_size(size: ByteSize) -> Self {
        size.0.try_into().unwrap_or(Self::MAX)
    }

    fn to_size(&self) -> ByteSize {
        ByteSize((*self).try_into().unwrap_or(u64::MAX))
    }
}

/// The place at this path, for a number of bytes.
macro_rules! bytes_at {
    ($($path:ident).+) => {
        Lens::new(|s| s.$($path).+.to_size(), |s, size| s.$($path).+ = Bytes::of_size(size))
    };
}

fn key<V: Value + 'static>(name: &'static str, lens: Lens<V>, help: &'static str) -> Key {
    Key { name, help, flag: None, env_short: None, field: Box::new(lens) }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Every setting, by section.
pub(crate) fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        [
            server(),
            security(),
            store(),
            postgres(),
            api(),
            publish(),
            policy(),
            worker(),
            replay(),
            upkeep(),
            log(),
            metrics(),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
    &KEYS
}

fn server() -> Vec<Key> {
    vec![
        key(
            "server.roles",
            at!(server.roles),
            "What this process does: api, worker, scheduler, or all. Processes with different roles share one PostgreSQL.",
        )
        .flag("roles")
        .short("HARBORHOOK_ROLES"),
        key(
            "server.queue",
            at!(server.queue),
            "What tells workers in other processes that there is work: local leaves it to the store.",
        )
        .flag("queue")
        .short("HARBORHOOK_QUEUE"),
        key("server.listen", at!(server.listen), "Where the API listens. Port 0 takes a free one.")
            .flag("listen")
            .short("HARBORHOOK_LISTEN"),
        key("server.ops_listen", at!(server.ops_listen), "Where metrics and health checks are served.")
            .flag("ops-listen")
            .short("HARBORHOOK_OPS_LISTEN"),
        key(
            "server.public_url",
            at!(server.public_url),
            "The URL under which others reach the API, where it differs from the listening address.",
        )
        .flag("public-url")
        .short("HARBORHOOK_PUBLIC_URL"),
        key("server.data_dir", at!(server.data_dir), "Where everything is kept. Made if it is missing.")
            .flag("data-dir")
            .short("HARBORHOOK_DATA_DIR"),
        key(
            "server.shutdown_grace",
            at!(server.shutdown_grace).within(SECOND, 10 * MINUTE),
            "How long a stop may take: requests under way are finished within it.",
        ),
        key(
            "server.connections_max",
            at!(server.connections.connections_max).within(1, 1_000_000),
            "The most connections of one listener. Further ones wait until one ends.",
        ),
        key(
            "server.head_bytes_max",
            bytes_at!(server.connections.head_bytes_max).within(ByteSize(8 * KIB), ByteSize(MIB)),
            "The most bytes in a request's line and headers. A request has at most 100 headers.",
        ),
        key(
            "server.head_timeout",
            at!(server.connections.head_timeout).within(SECOND, 10 * MINUTE),
            "How long a request's line and headers may take to arrive.",
        ),
        key(
            "server.idle_timeout",
            at!(server.connections.idle_timeout).within(SECOND, HOUR),
            "How long a connection without a request is kept.",
        ),
        key(
            "server.streams_max",
            at!(server.connections.streams_max).within(1, 10_000),
            "The most requests at a time on one HTTP/2 connection.",
        ),
    ]
}

fn security() -> Vec<Key> {
    vec![
        key(
            "security.operator_key",
            at!(security.operator_key),
            "The key of the operator: hhk_ and at least 32 characters. Better in the environment than in a file.",
        )
        .short("HARBORHOOK_OPERATOR_KEY"),
        key("security.operator_key_file", at!(security.operator_key_file), "A file that holds the operator key.")
            .flag("operator-key-file")
            .short("HARBORHOOK_OPERATOR_KEY_FILE"),
        key(
            "security.master_key",
            at!(security.master_key),
            "The key that secrets are encrypted under: 32 bytes in hexadecimal or base64. Without one, it is made in the data directory.",
        )
        .short("HARBORHOOK_MASTER_KEY"),
        key("security.master_key_file", at!(security.master_key_file), "A file that holds the master key.")
            .flag("master-key-file")
            .short("HARBORHOOK_MASTER_KEY_FILE"),
        key(
            "security.allow_http",
            at!(security.allow_http),
            "Whether endpoints of every tenant may have http URLs.",
        ),
        key(
            "security.allowed_subnets",
            at!(security.allowed_subnets),
            "Subnets that endpoints of every tenant may lie in though they are not on the public internet.",
        ),
        key(
            "security.extra_roots_file",
            at!(security.extra_roots_file),
            "Certificates in PEM that endpoints are trusted by, besides those of the operating system.",
        ),
    ]
}

fn store() -> Vec<Key> {
    vec![
        key(
            "store.database_url",
            at!(store.database_url),
            "Where the store is: `sqlite:` and its file, or a `postgres://` URL. harborhook.db in the data directory unless set.",
        )
        .flag("database-url")
        .short("HARBORHOOK_DATABASE_URL"),
        key(
            "store.readers",
            at!(store.sqlite.readers).within(1, 64),
            "Connections that read for publish and delivery.",
        ),
        key(
            "store.browsers",
            at!(store.sqlite.browsers).within(1, 64),
            "Connections that read what people look at.",
        ),
        key(
            "store.read_time_max",
            at!(store.sqlite.read_time_max).within(Duration::from_millis(10), MINUTE),
            "After how long a read is cut.",
        ),
        key(
            "store.batch_items_max",
            at!(store.sqlite.batch_items_max).within(1, 10_000),
            "The most rows' worth of changes in one transaction.",
        ),
        key(
            "store.batch_bytes_max",
            bytes_at!(store.sqlite.batch_bytes_max).within(ByteSize(KIB), ByteSize(256 * MIB)),
            "The most payload bytes in one transaction.",
        ),
        key(
            "store.batch_time_max",
            at!(store.sqlite.batch_time_max).within(Duration::from_millis(1), SECOND),
            "How long a transaction takes in more changes.",
        ),
        key(
            "store.queue_items_max",
            at!(store.sqlite.queue_items_max).within(1, 1_000_000),
            "The most rows' worth of changes that wait for the writer.",
        ),
        key(
            "store.tenant_queue_items_max",
            at!(store.sqlite.tenant_queue_items_max).within(1, 1_000_000),
            "The most rows' worth of one tenant's events that wait for the writer. Who publishes more gets 429.",
        ),
        key(
            "store.wal_passive_bytes",
            bytes_at!(store.sqlite.wal_passive_bytes).within(ByteSize(64 * KIB), ByteSize(16 * GIB)),
            "Bytes of the write-ahead log at which it is copied beside the writer.",
        ),
        key(
            "store.wal_restart_bytes",
            bytes_at!(store.sqlite.wal_restart_bytes).within(ByteSize(64 * KIB), ByteSize(64 * GIB)),
            "Bytes of the write-ahead log at which the writer waits until the log begins anew.",
        ),
        key(
            "store.writer_cache_bytes",
            bytes_at!(store.sqlite.writer_cache_bytes).within(ByteSize(64 * KIB), ByteSize(64 * GIB)),
            "Bytes of pages that the writer keeps in memory.",
        ),
        key(
            "store.reader_cache_bytes",
            bytes_at!(store.sqlite.reader_cache_bytes).within(ByteSize(64 * KIB), ByteSize(64 * GIB)),
            "Bytes of pages that each reader keeps in memory.",
        ),
        key(
            "store.directory_tenants_max",
            at!(store.sqlite.directory_tenants_max).within(1, 10_000_000),
            "The most tenants whose endpoints and subscriptions are kept in memory.",
        ),
    ]
}

fn postgres() -> Vec<Key> {
    vec![
        key(
            "postgres.publishers",
            at!(store.postgres.publishers).within(1, 64),
            "Connections that store what is published.",
        ),
        key(
            "postgres.finishers",
            at!(store.postgres.finishers).within(1, 64),
            "Connections that record what came of attempts.",
        ),
        key(
            "postgres.readers",
            at!(store.postgres.readers).within(1, 64),
            "Connections that read and lease for publish and delivery.",
        ),
        key(
            "postgres.browsers",
            at!(store.postgres.browsers).within(1, 64),
            "Connections for what people look at and set up.",
        ),
        key(
            "postgres.connect_time_max",
            at!(store.postgres.connect_time_max).within(Duration::from_millis(10), MINUTE),
            "How long a connection may take to be made.",
        ),
        key(
            "postgres.statement_time_max",
            at!(store.postgres.statement_time_max).within(Duration::from_millis(10), 10 * MINUTE),
            "After how long a statement is given up.",
        ),
        key(
            "postgres.batch_items_max",
            at!(store.postgres.batch_items_max).within(1, 10_000),
            "The most rows' worth of changes in one statement.",
        ),
        key(
            "postgres.batch_bytes_max",
            bytes_at!(store.postgres.batch_bytes_max).within(ByteSize(KIB), ByteSize(256 * MIB)),
            "The most payload bytes in one statement.",
        ),
        key(
            "postgres.queue_items_max",
            at!(store.postgres.queue_items_max).within(1, 1_000_000),
            "The most rows' worth of events that wait to be stored.",
        ),
        key(
            "postgres.tenant_queue_items_max",
            at!(store.postgres.tenant_queue_items_max).within(1, 1_000_000),
            "The most rows' worth of one tenant's events that wait to be stored.",
        ),
        key(
            "postgres.directory_tenants_max",
            at!(store.postgres.directory_tenants_max).within(1, 10_000_000),
            "The most tenants whose endpoints and subscriptions are kept in memory.",
        ),
    ]
}

fn api() -> Vec<Key> {
    vec![
        key(
            "api.publish_body_bytes_max",
            bytes_at!(api.publish_body_bytes_max).within(ByteSize(KIB), ByteSize(64 * MIB)),
            "The most bytes in the body of a publish.",
        ),
        key(
            "api.batch_body_bytes_max",
            bytes_at!(api.batch_body_bytes_max).within(ByteSize(KIB), ByteSize(256 * MIB)),
            "The most bytes in the body of a batch.",
        ),
        key(
            "api.batch_events_max",
            at!(api.batch_events_max).within(1, 10_000),
            "The most events in a batch.",
        ),
        key(
            "api.body_bytes_max",
            bytes_at!(api.body_bytes_max).within(ByteSize(KIB), ByteSize(16 * MIB)),
            "The most bytes in any other body.",
        ),
        key(
            "api.body_timeout",
            at!(api.body_timeout).within(SECOND, 10 * MINUTE),
            "The time in which a body must have arrived.",
        ),
        key(
            "api.request_timeout",
            at!(api.request_timeout).within(SECOND, 10 * MINUTE),
            "The time for any request but a publish, from its head to its answer.",
        ),
        key(
            "api.readiness_timeout",
            at!(api.readiness_timeout).within(Duration::from_millis(10), MINUTE),
            "The time in which the store must say that it is there.",
        ),
        key(
            "api.list_limit_default",
            at!(api.list_limit_default).within(1, 500),
            "The items on a page that names no limit.",
        ),
        key("api.list_limit_max", at!(api.list_limit_max).within(1, 500), "The most items on a page."),
        key(
            "api.endpoints_max",
            at!(api.endpoints_max).within(1, 1_000_000),
            "The most endpoints of one tenant.",
        ),
        key(
            "api.subscriptions_per_endpoint_max",
            at!(api.subscriptions_per_endpoint_max).within(1, 100_000),
            "The most subscriptions of one endpoint.",
        ),
        key(
            "api.secret_overlap_default",
            at!(api.secret_overlap_default).within(Duration::ZERO, 365 * DAY),
            "How long an old secret signs as well, unless the caller says so.",
        ),
        key(
            "api.secret_overlap_max",
            at!(api.secret_overlap_max).within(Duration::ZERO, 365 * DAY),
            "The longest that an old secret may sign as well.",
        ),
        key("api.secrets_max", at!(api.secrets_max).within(2, 10), "The most secrets that sign at a time."),
    ]
}

fn publish() -> Vec<Key> {
    vec![
        key(
            "publish.payload_bytes_max",
            bytes_at!(publish.payload_bytes_max).within(ByteSize(1), ByteSize(16 * MIB)),
            "The most bytes in one payload.",
        ),
        key(
            "publish.fan_out_max",
            at!(publish.fan_out_max).within(1, 100_000),
            "The most deliveries of one event.",
        ),
        key(
            "publish.key_chars_max",
            at!(publish.key_chars_max).within(1, 1024),
            "The most characters in an idempotency key or an ordering key.",
        ),
        key(
            "publish.metadata_pairs_max",
            at!(publish.metadata_pairs_max).within(0, 1000),
            "The most pairs of metadata on one event.",
        ),
        key(
            "publish.metadata_key_bytes_max",
            at!(publish.metadata_key_bytes_max).within(1, 1024),
            "The most bytes in a key of metadata.",
        ),
        key(
            "publish.metadata_value_bytes_max",
            at!(publish.metadata_value_bytes_max).within(1, 65_536),
            "The most bytes in a value of metadata.",
        ),
        key(
            "publish.deliver_ahead_max",
            at!(publish.deliver_ahead_max).within(SECOND, 365 * DAY),
            "How far ahead `deliver_at` may lie.",
        ),
        key(
            "publish.idempotency_window",
            at!(publish.idempotency_window).within(MINUTE, 90 * DAY),
            "How long an idempotency key is remembered.",
        ),
    ]
}

fn policy() -> Vec<Key> {
    vec![
        key(
            "policy.timeout_ms",
            at!(policy.timeout_ms).bounded(TIMEOUT_MS),
            "The milliseconds that one attempt may take. 30000 unless set.",
        ),
        key(
            "policy.max_in_flight",
            at!(policy.max_in_flight).bounded(IN_FLIGHT),
            "The most requests to one endpoint at a time. 32 unless set.",
        ),
        key(
            "policy.rate_limit.per_second",
            at!(policy.rate_limit.per_second).bounded(RATE),
            "The most requests per second to one endpoint. No limit unless set.",
        ),
        key(
            "policy.rate_limit.burst",
            at!(policy.rate_limit.burst).bounded(RATE),
            "The requests that may go at once after a quiet time. As many as `per_second` unless set.",
        ),
        key(
            "policy.circuit_breaker.enabled",
            at!(policy.circuit_breaker.enabled),
            "Whether an endpoint that fails is left alone for a while. true unless set.",
        ),
        key(
            "policy.circuit_breaker.consecutive_failures",
            at!(policy.circuit_breaker.consecutive_failures).bounded(CONSECUTIVE_FAILURES),
            "The failures without a success between them that open the breaker. 10 unless set.",
        ),
        key(
            "policy.circuit_breaker.p95_ms",
            at!(policy.circuit_breaker.p95_ms).bounded(P95_MS),
            "The 95th percentile of the latest latencies above which the breaker opens. Never unless set.",
        ),
        key(
            "policy.circuit_breaker.cooldown",
            at!(policy.circuit_breaker.cooldown),
            "How long the breaker stays open the first time; each probe that fails doubles it. 30s unless set.",
        ),
        key(
            "policy.circuit_breaker.cooldown_max",
            at!(policy.circuit_breaker.cooldown_max),
            "The longest that the breaker stays open before a probe. 5m unless set.",
        ),
        key(
            "policy.circuit_breaker.probes",
            at!(policy.circuit_breaker.probes).bounded(PROBES),
            "How many probes must succeed before the breaker closes. 1 unless set.",
        ),
        key(
            "policy.signing.schemes",
            at!(policy.signing.schemes),
            "Which signatures a request carries: standard, harborhook or both. Both unless set.",
        ),
        key(
            "policy.retry.max_attempts",
            at!(policy.retry.max_attempts).bounded(ATTEMPTS),
            "The most attempts, the first among them. 5 unless set.",
        ),
        key(
            "policy.retry.strategy",
            at!(policy.retry.strategy),
            "How waits are reckoned: schedule, exponential, linear, fixed or standard.",
        ),
        key(
            "policy.retry.schedule",
            at!(policy.retry.schedule),
            "The waits in turn; the last one repeats. 1s,5s,10s,30s,1m unless set.",
        ),
        key("policy.retry.base", at!(policy.retry.base), "The first wait, for exponential and linear."),
        key(
            "policy.retry.factor",
            at!(policy.retry.factor).bounded(FACTOR),
            "What each wait is multiplied by for the next, for exponential. 2 unless set.",
        ),
        key(
            "policy.retry.increment",
            at!(policy.retry.increment),
            "What each wait adds to the one before, for linear.",
        ),
        key("policy.retry.delay", at!(policy.retry.delay), "The wait, for fixed."),
        key(
            "policy.retry.jitter",
            at!(policy.retry.jitter).bounded(JITTER),
            "How far a wait strays at random, as a part of it. 0.1 unless set.",
        ),
        key(
            "policy.retry.max_delay",
            at!(policy.retry.max_delay),
            "The longest wait, also of one that an endpoint asks for. 1h unless set, or the longest wait of the strategy.",
        ),
        key(
            "policy.retry.client_errors",
            at!(policy.retry.client_errors),
            "How many retries a client error like 404 is granted, or all. 0 unless set.",
        ),
    ]
}

fn worker() -> Vec<Key> {
    vec![
        key(
            "worker.slots_max",
            at!(worker.lanes.slots_max).within(1, 100_000),
            "The most requests to all endpoints at a time.",
        ),
        key(
            "worker.lane_items_max",
            at!(worker.lanes.lane_items_max).within(1, 100_000),
            "The most deliveries held in memory for one endpoint. The rest wait in the store.",
        ),
        key(
            "worker.items_max",
            at!(worker.lanes.items_max).within(1, 10_000_000),
            "The most deliveries held in memory for all endpoints.",
        ),
        key(
            "worker.bytes_max",
            bytes_at!(worker.lanes.bytes_max).within(ByteSize(MIB), ByteSize(64 * GIB)),
            "The most payload bytes held in memory.",
        ),
        key(
            "worker.tenant_bytes_max",
            bytes_at!(worker.lanes.tenant_bytes_max).within(ByteSize(MIB), ByteSize(64 * GIB)),
            "The most payload bytes held in memory for one tenant.",
        ),
        key(
            "worker.tenant_items_max",
            at!(worker.lanes.tenant_items_max).within(1, 10_000_000),
            "The most deliveries held in memory for one tenant.",
        ),
        key(
            "worker.endpoints_max",
            at!(worker.lanes.endpoints_max).within(1, 10_000_000),
            "The most endpoints noted that wait for room in memory. The walk finds the others.",
        ),
        key(
            "worker.refill_interval",
            at!(worker.refill_interval).within(Duration::from_millis(10), MINUTE),
            "How often the store is asked for due deliveries that nobody announced.",
        ),
        key(
            "worker.nudge_interval",
            at!(worker.nudge_interval).within(Duration::from_millis(1), MINUTE),
            "How soon after the store was asked a hint may have it asked again.",
        ),
        key(
            "worker.refill_endpoints",
            at!(worker.refill_endpoints).within(1, 100_000),
            "How many endpoints one step of that walk names.",
        ),
        key(
            "worker.trouble_pause",
            at!(worker.trouble_pause).within(Duration::from_millis(100), 10 * MINUTE),
            "How long nothing new is taken up after a result could not be recorded.",
        ),
        key(
            "worker.wakeups_max",
            at!(worker.wakeups_max).within(1, 10_000_000),
            "The most retries whose time is kept in memory. The walk finds the others.",
        ),
        key(
            "worker.beat_interval",
            at!(worker.beat_interval).within(Duration::from_millis(100), HOUR),
            "How often a worker tells the others that it lives.",
        ),
        key(
            "worker.fence_after",
            at!(worker.fence_after).within(Duration::from_millis(200), HOUR),
            "How long after its last confirmed beat a worker begins no more requests.",
        ),
        key(
            "worker.death_after",
            at!(worker.death_after).within(Duration::from_millis(300), 2 * HOUR),
            "How long after its last beat a worker is dead to the others, which take over its deliveries.",
        ),
        key(
            "worker.reconcile_interval",
            at!(worker.reconcile_interval).within(SECOND, DAY),
            "How often what the store believes a worker to hold is compared with what it holds.",
        ),
        key(
            "worker.idle_per_host_max",
            at!(send.idle_per_host_max).within(0, 100_000),
            "The most idle connections kept to one host.",
        ),
        key(
            "worker.idle_total_max",
            at!(send.idle_total_max).within(0, 1_000_000),
            "The most idle connections kept in all. Each holds a file descriptor.",
        ),
        key(
            "worker.idle_timeout",
            at!(send.idle_timeout).within(SECOND, HOUR),
            "How long an idle connection to an endpoint is kept.",
        ),
        key(
            "worker.connection_age_max",
            at!(send.connection_age_max).within(SECOND, DAY),
            "How long a connection to an endpoint is used, so that endpoints that move are followed.",
        ),
        key(
            "worker.addresses_max",
            at!(send.addresses_max).within(1, 64),
            "How many addresses of one host are tried.",
        ),
        key(
            "worker.address_patience",
            at!(send.address_patience).within(Duration::from_millis(50), MINUTE),
            "How long one address is tried while another is left.",
        ),
        key(
            "worker.response_head_bytes_max",
            bytes_at!(send.response_head_bytes_max).within(ByteSize(8 * KIB), ByteSize(16 * MIB)),
            "The most bytes in the head of an endpoint's answer.",
        ),
        key(
            "worker.response_body_bytes_max",
            bytes_at!(send.response_body_bytes_max).within(ByteSize(16 * KIB), ByteSize(16 * MIB)),
            "The most bytes that are read of an endpoint's answer.",
        ),
        key(
            "worker.body_grace",
            at!(send.body_grace).within(Duration::ZERO, MINUTE),
            "How long the body of an answer is waited for after its head.",
        ),
        key(
            "worker.tls_sessions_max",
            at!(send.tls_sessions_max).within(0, 1_000_000),
            "How many TLS sessions are remembered for resumption.",
        ),
    ]
}

fn replay() -> Vec<Key> {
    vec![
        key(
            "replay.reason_chars_max",
            at!(replay.reason_chars_max).within(0, 65_536),
            "The most characters in the reason of a replay.",
        ),
        key(
            "replay.key_chars_max",
            at!(replay.key_chars_max).within(1, 1024),
            "The most characters in the idempotency key of a replay.",
        ),
        key(
            "replay.idempotency_window",
            at!(replay.idempotency_window).within(MINUTE, 90 * DAY),
            "How long the idempotency key of a replay is remembered.",
        ),
    ]
}

fn upkeep() -> Vec<Key> {
    vec![
        key(
            "upkeep.interval",
            at!(upkeep.interval).within(Duration::from_millis(100), HOUR),
            "The wait between rounds of clearing up.",
        ),
        key(
            "upkeep.batch_rows_max",
            at!(upkeep.batch_rows_max).within(1, 10_000),
            "The most rows that one transaction clears up.",
        ),
        key(
            "upkeep.batches_max",
            at!(upkeep.batches_max).within(1, 10_000),
            "The most transactions of one job in one round.",
        ),
    ]
}

fn log() -> Vec<Key> {
    vec![
        key("log.level", at!(log.level), "Which lines are written: a level, or levels by module like info,harbor_deliver=debug. Read anew on SIGHUP.")
            .flag("log-level"),
        key("log.format", at!(log.format), "What a line looks like: json or text.")
            .flag("log-format"),
        key("log.file", at!(log.file), "The file that lines go to; standard error without one. Opened anew on SIGHUP.")
            .flag("log-file"),
        key(
            "log.buffer_bytes_max",
            bytes_at!(log.buffer_bytes_max).within(ByteSize(64 * KIB), ByteSize(GIB)),
            "How much may wait to be written; lines beyond it are dropped and counted.",
        ),
    ]
}

fn metrics() -> Vec<Key> {
    vec![
        key(
            "metrics.tenants_max",
            at!(metrics.tenants_max).within(0, 100_000),
            "So many tenants have series of their own; the rest are counted as `other`.",
        ),
        key(
            "metrics.endpoint_labels",
            at!(metrics.endpoint_labels),
            "Whether deliveries and attempts are told apart by endpoint.",
        ),
        key(
            "metrics.endpoints_max",
            at!(metrics.endpoints_max).within(0, 100_000),
            "So many endpoints have series of their own; the rest are counted as `other`.",
        ),
    ]
}
