//! Which server, which key, which tenant: flags, then environment, then a profile, then what
//! `harborhook serve --dev` left behind, then defaults.
//!
//! [`resolve`] is the whole decision, without a look at any file; [`load()`] brings it what it needs.

mod dev;
mod error;
pub(crate) mod file;
mod load;
mod secret;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::args::duration;
use crate::args::global::GlobalArgs;
use crate::environment::Environment;
use crate::output::Format;
use crate::settings::file::Profile;

pub(crate) use crate::settings::dev::DevCredentials;
pub(crate) use crate::settings::error::SettingsError;
pub(crate) use crate::settings::file::ConfigFile;
pub(crate) use crate::settings::load::{Loaded, find_config_path, find_dev_credentials, load};
pub(crate) use crate::settings::secret::Secret;

/// The server where none is named.
pub(crate) const BASE_URL_DEFAULT: &str = "http://127.0.0.1:8080";
/// The time for one request where none is named.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The profile where none is named.
pub(crate) const PROFILE_DEFAULT: &str = "default";

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the command line.
    Flag(&'static str),
    /// In the environment.
    Environment(&'static str),
    /// In a profile of the config file.
    Profile(String),
    /// In `dev-credentials.json`.
    Dev,
    /// Nowhere.
    #[default]
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Dev => f.write_str("dev credentials"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value with the place that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it stands.
    pub(crate) source: Source,
}

/// Everything that settings are made of.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    /// The command line.
    pub(crate) flags: GlobalArgs,
    /// The environment.
    pub(crate) environment: Environment,
    /// The config file; empty if there is none.
    pub(crate) file: ConfigFile,
    /// What `harborhook serve --dev` left behind.
    pub(crate) dev: Option<DevCredentials>,
}

/// What a command goes by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The profile, if one is used.
    pub(crate) profile: Option<Sourced<String>>,
    /// The server.
    pub(crate) base_url: Sourced<String>,
    /// The key for what belongs to a tenant.
    pub(crate) api_key: Option<Sourced<Secret>>,
    /// The key for what belongs to the instance, where it is another.
    pub(crate) operator_key: Option<Sourced<Secret>>,
    /// The tenant; where there is none, the key's own.
    pub(crate) tenant: Option<Sourced<String>>,
    /// How results are written.
    pub(crate) output: Sourced<Format>,
    /// The time for one request.
    pub(crate) timeout: Sourced<Duration>,
    /// The tenant that `api_key` belongs to, as far as its place says so.
    api_key_tenant: Option<String>,
    /// Whether a stored key is not used because it belongs to another server.
    foreign_key: bool,
}

impl Settings {
    /// The key for what belongs to a tenant.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn tenant_key(&self) -> Result<&Secret, SettingsError> {
        // The key of one tenant cannot act for another; the operator's can.
        let elsewhere = match (&self.api_key_tenant, &self.tenant) {
            (Some(own), Some(wanted)) => *own != wanted.value,
            (None, _) | (_, None) => false,
        };
        let key = if elsewhere { self.operator_key.as_ref().or(self.api_key.as_ref()) } else { None };
        self.some_key(key.or(self.api_key.as_ref()).or(self.operator_key.as_ref()))
    }

    /// The key for what belongs to the instance. One that was given by hand goes before a stored one.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn operator_key(&self) -> Result<&Secret, SettingsError> {
        let by_hand = self
            .api_key
            .as_ref()
            .filter(|key| matches!(key.source, Source::Flag(_) | Source::Environment(_)));
        self.some_key(by_hand.or(self.operator_key.as_ref()).or(self.api_key.as_ref()))
    }

    /// The key to show who is asking, if there is one.
    pub(crate) fn find_key(&self) -> Option<&Secret> {
        self.tenant_key().ok()
    }

    fn some_key<'a>(&self, key: Option<&'a Sourced<Secret>>) -> Result<&'a Secret, SettingsError> {
        key.map(|key| &key.value).ok_or(SettingsError::NoKey { foreign: self.foreign_key })
    }
}

/// Decides which value is in force.
///
/// A stored key is used only for the server that is named beside it: overriding the server by a flag
/// must not hand the key to another one.
///
/// # Errors
/// The profile that was asked for does not exist, or a value is none.
pub(crate) fn resolve(sources: &Sources) -> Result<Settings, SettingsError> {
    let Sources { flags, environment, file, dev } = sources;
    let profile_name = profile_name(sources);
    let profile = match &profile_name {
        Some(name) => file.profile(&name.value)?.clone(),
        None => Profile::default(),
    };
    let in_profile = Source::Profile(profile_name.as_ref().map_or_else(String::new, |it| it.value.clone()));

    let base_url = flag("--base-url", &flags.base_url)
        .or(variable("HARBORCTL_BASE_URL", &environment.base_url))
        .or(stored(&in_profile, &profile.base_url))
        .or(stored(&Source::Dev, &dev.as_ref().map(|dev| dev.base_url.clone())))
        .unwrap_or_else(|| default(BASE_URL_DEFAULT.to_owned()));
    let variable_key = environment.api_key.clone().map(Secret::from);
    let given = flag("--api-key", &flags.api_key).or(variable("HARBORCTL_API_KEY", &variable_key));
    let keys = StoredKeys::find(&profile, &in_profile, dev.as_ref(), &base_url.value);
    // Dev credentials are a whole: their key for the tenant is not mixed with one that was given.
    let keys = keys.filter(|keys| given.is_none() || keys.source != Source::Dev).unwrap_or_default();

    let dev_tenant = keys.tenant.clone().filter(|_| keys.source == Source::Dev);
    let tenant = flag("--tenant", &flags.tenant)
        .or(variable("HARBORCTL_TENANT", &environment.tenant))
        .or(stored(&in_profile, &profile.tenant))
        .or(stored(&Source::Dev, &dev_tenant));
    let output = variable("HARBORCTL_OUTPUT", &environment.output)
        .or(stored(&in_profile, &profile.output))
        .map(|text| checked(text, |text| Format::from_str(text, true)))
        .transpose()?;
    let timeout = variable("HARBORCTL_TIMEOUT", &environment.timeout)
        .or(stored(&in_profile, &profile.timeout))
        .map(|text| checked(text, duration::parse_positive))
        .transpose()?;

    Ok(Settings {
        profile: profile_name,
        base_url,
        api_key_tenant: keys.tenant.clone().filter(|_| given.is_none() && keys.api_key.is_some()),
        api_key: given.or(stored(&keys.source, &keys.api_key)),
        operator_key: stored(&keys.source, &keys.operator_key),
        tenant,
        output: flag("--output", &flags.output).or(output).unwrap_or_else(|| default(Format::Table)),
        timeout: flag("--timeout", &flags.timeout).or(timeout).unwrap_or_else(|| default(TIMEOUT_DEFAULT)),
        foreign_key: keys.source == Source::Default && (profile.has_key() || dev.is_some()),
    })
}

/// Keys that lie in a file, with the tenant that is named beside them.
#[derive(Default)]
struct StoredKeys {
    source: Source,
    api_key: Option<Secret>,
    operator_key: Option<Secret>,
    tenant: Option<String>,
}

impl StoredKeys {
    /// The keys of the profile, or else those of the dev server, if they are for this server.
    fn find(
        profile: &Profile,
        in_profile: &Source,
        dev: Option<&DevCredentials>,
        base_url: &str,
    ) -> Option<Self> {
        if profile.has_key() {
            let fits = profile.base_url.as_deref().is_none_or(|url| same_server(url, base_url));
            return fits.then(|| Self {
                source: in_profile.clone(),
                api_key: profile.api_key.clone(),
                operator_key: profile.operator_key.clone(),
                tenant: profile.tenant.clone(),
            });
        }
        let dev = dev.filter(|dev| same_server(&dev.base_url, base_url))?;
        Some(Self {
            source: Source::Dev,
            api_key: Some(dev.api_key.clone()),
            operator_key: Some(dev.operator_key.clone()),
            tenant: Some(dev.tenant_id.clone()),
        })
    }
}

fn flag<T: Clone>(name: &'static str, value: &Option<T>) -> Option<Sourced<T>> {
    stored(&Source::Flag(name), value)
}

fn variable<T: Clone>(name: &'static str, value: &Option<T>) -> Option<Sourced<T>> {
    stored(&Source::Environment(name), value)
}

fn stored<T: Clone>(source: &Source, value: &Option<T>) -> Option<Sourced<T>> {
    value.clone().map(|value| Sourced { value, source: source.clone() })
}

fn default<T>(value: T) -> Sourced<T> {
    Sourced { value, source: Source::Default }
}

/// The profile that is asked for, or the one that is used without asking if it exists.
fn profile_name(sources: &Sources) -> Option<Sourced<String>> {
    let Sources { flags, environment, file, .. } = sources;
    let flag = flags.profile.clone().map(|value| (value, Source::Flag("--profile")));
    let env = environment.profile.clone().map(|value| (value, Source::Environment("HARBORCTL_PROFILE")));
    let named = file.default_profile.clone();
    let usual = file.profiles.contains_key(PROFILE_DEFAULT).then(|| PROFILE_DEFAULT.to_owned());
    let default = named.or(usual).map(|value| (value, Source::Default));
    flag.or(env).or(default).map(|(value, source)| Sourced { value, source })
}

fn same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn checked<T>(
    text: Sourced<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Sourced<T>, SettingsError> {
    let Sourced { value, source } = text;
    match parse(&value) {
        Ok(value) => Ok(Sourced { value, source }),
        Err(reason) => Err(SettingsError::BadValue { place: source.to_string(), value, reason }),
    }
}

/// Where the settings came from, for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// The config file, if there is one.
    pub(crate) config: Option<PathBuf>,
    /// The dev credentials, if there are any.
    pub(crate) dev: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
