//! Finds and reads what settings are made of.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use url::{Host, Url};

use crate::args::global::GlobalArgs;
use crate::environment::Environment;
use crate::settings::dev::{DATA_DIR_DEFAULT, DevCredentials, FILE_NAME};
use crate::settings::file::ConfigFile;
use crate::settings::{Files, Settings, SettingsError, Sources, resolve};

/// What was found.
pub(crate) struct Loaded {
    /// What is in force.
    pub(crate) settings: Settings,
    /// Which files it came from.
    pub(crate) files: Files,
    /// What the user should know about them.
    pub(crate) warnings: Vec<String>,
}

/// Finds and reads everything, and decides.
///
/// # Errors
/// A file that was named is missing, a file is no good, or see [`resolve`].
pub(crate) fn load(flags: &GlobalArgs, environment: &Environment) -> Result<Loaded, SettingsError> {
    let named = flags.config.is_some() || environment.config.is_some();
    let path = find_config_path(flags, environment);
    let text = path.as_deref().map(|path| read(path, !named)).transpose()?.flatten();
    let config = path.filter(|_| text.is_some());
    let file = match (&config, &text) {
        (Some(path), Some(text)) => ConfigFile::parse(text, path)?,
        (None, _) | (_, None) => ConfigFile::default(),
    };
    let dev = find_dev_credentials(environment)?;

    let warnings = config.as_deref().filter(|_| file.has_keys()).and_then(readable_by_others);
    let files = Files { config, dev: dev.as_ref().map(|(path, _)| path.clone()) };
    let sources = Sources {
        flags: flags.clone(),
        environment: environment.clone(),
        file,
        dev: dev.map(|(_, credentials)| credentials),
    };
    Ok(Loaded { settings: resolve(&sources)?, files, warnings: warnings.into_iter().collect() })
}

/// Where the config file is, or would be.
pub(crate) fn find_config_path(flags: &GlobalArgs, environment: &Environment) -> Option<PathBuf> {
    let named = flags.config.clone().or_else(|| environment.config.clone());
    let home = || environment.home.as_ref().map(|home| home.join(".config"));
    let below = |folder: PathBuf| folder.join("harborhook").join("config.toml");
    named.or_else(|| environment.config_home.clone().or_else(home).map(below))
}

/// The dev credentials with their place, if there are any.
///
/// # Errors
/// The file is there and no good.
pub(crate) fn find_dev_credentials(
    environment: &Environment,
) -> Result<Option<(PathBuf, DevCredentials)>, SettingsError> {
    let data_dir = environment.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR_DEFAULT));
    let path = data_dir.join(FILE_NAME);
    let Some(text) = read(&path, true)? else { return Ok(None) };
    let unreadable = |reason| SettingsError::Unreadable { path: path.clone(), reason };
    let credentials: DevCredentials =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    // The file is found in whatever folder the user is in, perhaps one that somebody else made: it must
    // not send the user's own key to a server of their choice. A dev server is on this machine.
    if !is_on_this_machine(&credentials.base_url) {
        return Err(unreadable("its server is not on this machine".to_owned()));
    }
    Ok(Some((path, credentials)))
}

fn is_on_this_machine(base_url: &str) -> bool {
    match Url::parse(base_url).as_ref().map(Url::host) {
        Ok(Some(Host::Ipv4(address))) => address.is_loopback(),
        Ok(Some(Host::Ipv6(address))) => address.is_loopback(),
        Ok(Some(Host::Domain(name))) => name == "localhost",
        Ok(None) | Err(_) => false,
    }
}

/// Reads a file; nothing if it is not there and need not be.
fn read(path: &Path, optional: bool) -> Result<Option<String>, SettingsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if optional && error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SettingsError::Unreadable { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn readable_by_others(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let path = path.display();
    (mode & 0o077 != 0)
        .then(|| format!("{path} holds keys and others may read it (mode {mode:o}): chmod 600 {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_address_is_this_machine() {
        let check = |url: &str, expected| assert_eq!(is_on_this_machine(url), expected, "{url}");
        check("http://127.0.0.1:8080", true);
        check("http://[::1]:8080", true);
        check("http://localhost", true);
        check("http://10.0.0.1", false);
        check("http://localhost.example.com", false);
        check("http://127.0.0.1@example.com", false);
        check("nonsense", false);
    }

    #[test]
    fn the_config_file_has_its_place() {
        let environment = Environment {
            config: Some("/env.toml".into()),
            config_home: Some("/xdg".into()),
            home: Some("/home/me".into()),
            ..Environment::default()
        };
        let flags = GlobalArgs { config: Some("/flag.toml".into()), ..GlobalArgs::default() };
        let check = |flags: &GlobalArgs, environment: &Environment, expected: Option<&str>| {
            assert_eq!(find_config_path(flags, environment), expected.map(PathBuf::from));
        };
        let none = GlobalArgs::default();
        check(&flags, &environment, Some("/flag.toml"));
        check(&none, &environment, Some("/env.toml"));
        let environment = Environment { config: None, ..environment };
        check(&none, &environment, Some("/xdg/harborhook/config.toml"));
        let environment = Environment { config_home: None, ..environment };
        check(&none, &environment, Some("/home/me/.config/harborhook/config.toml"));
        check(&none, &Environment::default(), None);
    }
}
