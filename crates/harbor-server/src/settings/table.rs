//! The table of settings: what each is called, where it stands in the tree, and what it may be.

mod intake;
mod observe;
mod policy;
mod recover;
mod server;
mod store;
mod worker;

use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

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
        $crate::settings::table::Lens::new(
            |s| Clone::clone(&s.$($path).+),
            |s, value| s.$($path).+ = value,
        )
    };
}
use at;

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
        $crate::settings::table::Lens::new(
            |s| $crate::settings::table::Bytes::to_size(&s.$($path).+),
            |s, size| s.$($path).+ = $crate::settings::table::Bytes::of_size(size),
        )
    };
}
use bytes_at;

/// The place at this path, for a duration that may be longer than policies' are.
macro_rules! long_at {
    ($($path:ident).+) => {
        $crate::settings::table::Lens::new(
            |s| s.$($path).+.map($crate::settings::value::LongDuration),
            |s, long| s.$($path).+ = long.map(|long| long.0),
        )
    };
}
use long_at;

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
            server::server(),
            server::security(),
            store::store(),
            store::postgres(),
            intake::api(),
            intake::publish(),
            policy::policy(),
            policy::quota(),
            policy::retention(),
            worker::worker(),
            recover::replay(),
            recover::jobs(),
            recover::upkeep(),
            recover::leadership(),
            observe::log(),
            observe::metrics(),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
    &KEYS
}
