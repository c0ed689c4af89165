//! What a setting's value may be: how it is read from text and from TOML, and how it is shown.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use harbor_model::policy::order::{OnDead, Ordering};
use harbor_model::policy::retry::ClientErrors;
use harbor_model::policy::written::{RetryStrategy, SigningScheme};
use harbor_model::secret::Secret;
use harbor_model::text::{DurationError, parse_duration, parse_duration_up_to, print_duration};
use harbor_observe::logs;
use ipnet::IpNet;
use toml::de::DeValue;
use url::Url;

/// A type that settings have. What it shows, it reads.
pub(crate) trait Value: Sized {
    /// What the value is, after "must be".
    const KIND: &'static str;

    /// Reads the text of a flag or an environment variable.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Reads what stands in a file. A string, unless the type is one that TOML has.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Self::from_text(text),
            other => Err(mismatch::<Self>(other)),
        }
    }

    /// The value as text.
    fn show(&self) -> String;
}

fn mismatch<T: Value>(found: &DeValue<'_>) -> String {
    format!("must be {}, not {}", T::KIND, name(found))
}

fn name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn refusal<T: Value>() -> String {
    format!("must be {}", T::KIND)
}

/// The integer that TOML writes, which may be hexadecimal, octal or binary.
fn integer<T: Value, N>(
    value: &DeValue<'_>,
    parse: impl FnOnce(&str, u32) -> Option<N>,
) -> Result<N, String> {
    let DeValue::Integer(integer) = value else { return Err(mismatch::<T>(value)) };
    parse(integer.as_str(), integer.radix()).ok_or_else(refusal::<T>)
}

macro_rules! integers {
    ($($name:ident)*) => {$(
        impl Value for $name {
            const KIND: &'static str = "a whole number";

            fn from_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| refusal::<Self>())
            }

            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                integer::<Self, _>(value, |text, radix| $name::from_str_radix(text, radix).ok())
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

integers!(u16 u32 u64 usize);

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| refusal::<Self>())
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| mismatch::<Self>(value))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for f64 {
    const KIND: &'static str = "a number";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(refusal::<Self>)
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Integer(integer) if integer.radix() == 10 => Self::from_text(integer.as_str()),
            DeValue::Float(float) => Self::from_text(float.as_str()),
            other => Err(mismatch::<Self>(other)),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    const KIND: &'static str = "a duration like 250ms, 30s, 5m, 2h or 30d";

    fn from_text(text: &str) -> Result<Self, String> {
        parse_duration(text).map_err(|DurationError| refusal::<Self>())
    }

    fn show(&self) -> String {
        print_duration(*self)
    }
}

/// A duration that may be longer than a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LongDuration(pub(crate) Duration);

impl Value for LongDuration {
    const KIND: &'static str = Duration::KIND;

    fn from_text(text: &str) -> Result<Self, String> {
        parse_duration_up_to(text, Duration::MAX).map(Self).map_err(|DurationError| refusal::<Self>())
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// A number of bytes: an integer, or a text like `16MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub(crate) u64);

impl Value for ByteSize {
    const KIND: &'static str = "a number of bytes, like 1048576 or 1MiB";

    fn from_text(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim_start() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(refusal::<Self>()),
        };
        let number: u64 = number.parse().map_err(|_| refusal::<Self>())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(refusal::<Self>)
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Self::from_text(text),
            other => integer::<Self, _>(other, |text, radix| u64::from_str_radix(text, radix).ok()).map(Self),
        }
    }

    fn show(&self) -> String {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return format!("{}{unit}", self.0 >> shift);
            }
        }
        self.0.to_string()
    }
}

impl Value for String {
    const KIND: &'static str = "a text";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "a path";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err(refusal::<Self>()) } else { Ok(text.into()) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for SocketAddr {
    const KIND: &'static str = "an address with a port, like 127.0.0.1:8080 or [::1]:8080";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| refusal::<Self>())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Url {
    const KIND: &'static str = "a URL like https://hooks.example.com";

    fn from_text(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|_| refusal::<Self>())?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain {
            Ok(url)
        } else {
            Err(refusal::<Self>())
        }
    }

    fn show(&self) -> String {
        self.as_str().trim_end_matches('/').to_owned()
    }
}

impl Value for Secret {
    const KIND: &'static str = "a text";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::new(text.to_owned()))
    }

    /// Whether there is one is all that is told.
    fn show(&self) -> String {
        "********".to_owned()
    }
}

impl Value for logs::Level {
    const KIND: &'static str = "a level";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: logs::LevelError| error.to_string())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for IpNet {
    const KIND: &'static str = "a subnet like 10.0.0.0/8";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| refusal::<Self>())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Where the store is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum DatabaseUrl {
    /// The embedded store, in this file.
    Sqlite(PathBuf),
    /// A PostgreSQL server. Secret, since it may hold a password.
    Postgres(Secret),
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl Value for DatabaseUrl {
    const KIND: &'static str = "sqlite: and a file, like sqlite:/var/lib/harborhook/harborhook.db, \
                                or postgres://user:password@host/database";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return match Url::parse(text) {
                Ok(url) if url.has_host() => Ok(Self::Postgres(Secret::new(text.to_owned()))),
                Ok(_) | Err(_) => Err(refusal::<Self>()),
            };
        }
        let rest = text.strip_prefix("sqlite:").ok_or_else(refusal::<Self>)?;
        // `sqlite:///var/…` is how a URL with an empty host is written.
        let path = PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
        // What other programs call `sqlite::memory:` would lose every event.
        let names_file = path.file_name().is_some() && !rest.ends_with('/') && !rest.starts_with(':');
        if names_file { Ok(Self::Sqlite(path)) } else { Err(refusal::<Self>()) }
    }

    fn show(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => without_password(url.expose()),
        }
    }
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "********".to_owned() };
    if url.password().is_some() && url.set_password(Some("********")).is_err() {
        return "********".to_owned();
    }
    url.to_string()
}

/// What a process does. Several may do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves the API.
    Api,
    /// Delivers.
    Worker,
    /// Clears up.
    Scheduler,
    /// Everything.
    All,
}

/// What tells workers of other processes that there is work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The store itself.
    #[default]
    Local,
}

/// A type whose values have names.
macro_rules! words {
    ($name:ty, $kind:literal, { $($variant:path = $word:literal),* $(,)? }) => {
        impl Value for $name {
            const KIND: &'static str = $kind;

            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($variant),)*
                    _ => Err(refusal::<Self>()),
                }
            }

            fn show(&self) -> String {
                match self { $($variant => $word,)* }.to_owned()
            }
        }
    };
}

words!(logs::Format, "json or text", { logs::Format::Json = "json", logs::Format::Text = "text" });

words!(Role, "api, worker, scheduler or all", {
    Role::Api = "api",
    Role::Worker = "worker",
    Role::Scheduler = "scheduler",
    Role::All = "all",
});

words!(Queue, "local", { Queue::Local = "local" });

words!(RetryStrategy, "schedule, exponential, linear, fixed or standard", {
    RetryStrategy::Schedule = "schedule",
    RetryStrategy::Exponential = "exponential",
    RetryStrategy::Linear = "linear",
    RetryStrategy::Fixed = "fixed",
    RetryStrategy::Standard = "standard",
});

words!(Ordering, "none, key or endpoint", {
    Ordering::None = "none",
    Ordering::Key = "key",
    Ordering::Endpoint = "endpoint",
});

words!(OnDead, "skip or hold", { OnDead::Skip = "skip", OnDead::Hold = "hold" });

words!(SigningScheme, "standard or harborhook", {
    SigningScheme::Standard = "standard",
    SigningScheme::Harborhook = "harborhook",
});

impl Value for ClientErrors {
    const KIND: &'static str = "a whole number or \"all\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Retries).map_err(|_| refusal::<Self>()),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) if text == "all" => Ok(Self::All),
            other => integer::<Self, _>(other, |text, radix| u16::from_str_radix(text, radix).ok())
                .map(Self::Retries),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Retries(number) => number.to_string(),
            Self::All => "all".to_owned(),
        }
    }
}

/// What may be left unset.
impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn from_text(text: &str) -> Result<Self, String> {
        T::from_text(text).map(Some)
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        T::from_toml(value).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

/// A list: in a file as TOML has it, in text with commas between.
impl<T: Value> Value for Vec<T> {
    const KIND: &'static str = "a list";

    fn from_text(text: &str) -> Result<Self, String> {
        text.split(',').map(|item| T::from_text(item.trim()).map_err(each)).collect()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Array(items) = value else { return Err(mismatch::<Self>(value)) };
        items.iter().map(|item| T::from_toml(item.get_ref()).map_err(each)).collect()
    }

    fn show(&self) -> String {
        self.iter().map(T::show).collect::<Vec<_>>().join(",")
    }
}

fn each(message: String) -> String {
    format!("each {message}")
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn toml(text: &str) -> DeValue<'_> {
        DeValue::parse(text).unwrap().into_inner()
    }

    #[test]
    fn what_a_value_shows_it_reads() {
        fn check<T: Value>(texts: &[&str]) {
            for text in texts {
                assert_eq!(T::from_text(text).map(|value| value.show()), Ok((*text).to_owned()));
            }
        }
        check::<u16>(&["0", "65535"]);
        check::<bool>(&["true", "false"]);
        check::<f64>(&["0.1", "2"]);
        check::<Duration>(&["250ms", "30s", "2h", "7d"]);
        check::<LongDuration>(&["90d", "3650d"]);
        check::<Ordering>(&["none", "key", "endpoint"]);
        check::<OnDead>(&["skip", "hold"]);
        check::<ByteSize>(&["0", "1000", "16KiB", "1MiB", "3GiB"]);
        check::<SocketAddr>(&["127.0.0.1:8080", "[::1]:0"]);
        check::<DatabaseUrl>(&["sqlite:/var/lib/harborhook/harborhook.db", "sqlite:events.db"]);
        check::<DatabaseUrl>(&["postgres://hooks@db.example.com:5432/hooks?sslmode=verify-full"]);
        check::<Vec<Role>>(&["all", "api,worker", "scheduler"]);
        check::<Queue>(&["local"]);
        check::<Url>(&["https://hooks.example.com", "http://localhost:8080/base"]);
        check::<PathBuf>(&["./harborhook-data"]);
        check::<logs::Level>(&["info,harbor_deliver=debug"]);
        check::<logs::Format>(&["json", "text"]);
        check::<ClientErrors>(&["all", "3"]);
        check::<RetryStrategy>(&["schedule", "exponential", "linear", "fixed", "standard"]);
        check::<Vec<SigningScheme>>(&["standard,harborhook"]);
        check::<Vec<IpNet>>(&["10.0.0.0/8,fd00::/8"]);
    }

    #[test]
    fn a_file_says_the_type_that_it_means() {
        fn check<T: Value + PartialEq + Debug>(text: &str, expected: Result<T, &str>) {
            assert_eq!(T::from_toml(&toml(text)), expected.map_err(str::to_owned), "{text}");
        }
        check::<u16>("0x10", Ok(16));
        check::<u16>("\"5\"", Err("must be a whole number, not a string"));
        check::<u16>("65536", Err("must be a whole number"));
        check::<u32>("-1", Err("must be a whole number"));
        check::<bool>("1", Err("must be true or false, not an integer"));
        check::<f64>("1", Ok(1.0));
        check::<f64>("nan", Err("must be a number"));
        check::<Duration>("30", Err("must be a duration like 250ms, 30s, 5m, 2h or 30d, not an integer"));
        check::<Duration>("\"1 h\"", Err("must be a duration like 250ms, 30s, 5m, 2h or 30d"));
        check::<ByteSize>("4096", Ok(ByteSize(4096)));
        check::<ByteSize>("\"1 MiB\"", Ok(ByteSize(1 << 20)));
        check::<ByteSize>("\"1MB\"", Err("must be a number of bytes, like 1048576 or 1MiB"));
        check::<Vec<IpNet>>("[\"10.0.0.0/8\", \"x\"]", Err("each must be a subnet like 10.0.0.0/8"));
        check::<Vec<IpNet>>("\"10.0.0.0/8\"", Err("must be a list, not a string"));
    }

    #[test]
    fn a_store_is_a_file_or_a_server() {
        for refused in
            ["sqlite:", "sqlite::memory:", "sqlite:/data/", "mysql://localhost/x", "postgres:", "/data"]
        {
            assert!(DatabaseUrl::from_text(refused).is_err(), "{refused}");
        }
        let file = DatabaseUrl::Sqlite("/data/events.db".into());
        assert_eq!(DatabaseUrl::from_text("sqlite:///data/events.db"), Ok(file));
    }

    #[test]
    fn a_databases_password_is_not_shown() {
        let url = DatabaseUrl::from_text("postgres://hooks:open-sesame@db/hooks").unwrap();
        assert_eq!(url.show(), "postgres://hooks:********@db/hooks");
        assert!(!format!("{url:?}").contains("open-sesame"));
    }

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::from_text("hhk_abc").unwrap();
        assert_eq!(secret.show(), "********");
    }
}
