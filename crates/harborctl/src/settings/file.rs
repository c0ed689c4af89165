//! The config file: profiles in TOML.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use clap::ValueEnum;
use serde::Deserialize;
use toml_edit::{DocumentMut, Item, Table, TomlError, value};

use crate::settings::secret::Secret;
use crate::settings::{PROFILE_DEFAULT, SettingsError};

/// The config file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConfigFile {
    /// The profile that is used without asking; `default` where none is named.
    pub(crate) default_profile: Option<String>,
    /// The profiles.
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// One server with its keys, under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Profile {
    /// The server.
    pub(crate) base_url: Option<String>,
    /// The key for what belongs to a tenant.
    pub(crate) api_key: Option<Secret>,
    /// The key for what belongs to the instance.
    pub(crate) operator_key: Option<Secret>,
    /// The tenant.
    pub(crate) tenant: Option<String>,
    /// `table`, `json` or `yaml`.
    pub(crate) output: Option<String>,
    /// The time for one request.
    pub(crate) timeout: Option<String>,
}

impl Profile {
    /// Whether it holds a key.
    pub(crate) fn has_key(&self) -> bool {
        self.api_key.is_some() || self.operator_key.is_some()
    }
}

/// A field of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum ProfileKey {
    /// The server
    BaseUrl,
    /// The key for what belongs to a tenant
    ApiKey,
    /// The key for what belongs to the instance
    OperatorKey,
    /// The tenant
    Tenant,
    /// table, json or yaml
    Output,
    /// The time for one request, like 30s
    Timeout,
}

impl ProfileKey {
    /// Its name in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BaseUrl => "base_url",
            Self::ApiKey => "api_key",
            Self::OperatorKey => "operator_key",
            Self::Tenant => "tenant",
            Self::Output => "output",
            Self::Timeout => "timeout",
        }
    }

    /// Whether its value is not to be shown.
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Self::ApiKey | Self::OperatorKey)
    }
}

impl ConfigFile {
    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// It is no TOML, or has a field that is not known.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        // The error's own text quotes the line, which may hold a key.
        toml_edit::de::from_str(text).map_err(|error| SettingsError::Unreadable {
            path: path.to_owned(),
            reason: place(text, error.span(), error.message()),
        })
    }

    /// The profile with this name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn profile(&self, name: &str) -> Result<&Profile, SettingsError> {
        self.profiles.get(name).ok_or_else(|| SettingsError::NoProfile {
            name: name.to_owned(),
            known: self.profiles.keys().cloned().collect(),
        })
    }

    /// Whether it holds something that others should not read.
    pub(crate) fn has_keys(&self) -> bool {
        self.profiles.values().any(Profile::has_key)
    }
}

/// Changes fields of a profile in the text of a config file; comments and order stay.
///
/// # Errors
/// The text is no TOML, or something else stands in the profile's place.
pub(crate) fn edit(
    text: &str,
    profile: &str,
    changes: &[(ProfileKey, Option<&str>)],
) -> Result<String, String> {
    let broken = |error: TomlError| place(text, error.span(), error.message());
    let mut document: DocumentMut = text.parse().map_err(broken)?;
    let profiles = document.entry("profiles").or_insert_with(|| {
        let mut table = Table::new();
        // Only the tables below it have a header.
        table.set_implicit(true);
        Item::Table(table)
    });
    let profiles = profiles.as_table_like_mut().ok_or("`profiles` is not a table")?;
    let table = profiles.entry(profile).or_insert_with(|| Item::Table(Table::new()));
    let table = table.as_table_like_mut().ok_or_else(|| format!("profile `{profile}` is not a table"))?;
    for (key, change) in changes {
        match change {
            Some(text) => drop(table.insert(key.name(), value(*text))),
            None => drop(table.remove(key.name())),
        }
    }
    Ok(document.to_string())
}

/// Reads the text of the config file for a change; empty if there is none yet.
///
/// # Errors
/// It is there and cannot be read.
pub(crate) fn read_for_edit(path: &Path) -> Result<String, SettingsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(SettingsError::Unreadable { path: path.to_owned(), reason: error.to_string() }),
    }
}

/// Puts a new config file in the old one's place, readable by its owner only.
///
/// # Errors
/// The folder or the file cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), SettingsError> {
    let failed = |error: std::io::Error| SettingsError::Unwritable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    // A link stays a link: people keep their settings elsewhere and link to them.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    // Written beside and renamed, so that a crash leaves the old file or the new one.
    let beside = target.with_extension(format!("toml.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, &target));
    if written.is_err() {
        // What is left of a failed write is of no use; the failure itself is reported.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed)
}

/// Says in which line something is wrong.
fn place(text: &str, span: Option<Range<usize>>, message: &str) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else { return message.to_owned() };
    format!("line {}: {message}", before.matches('\n').count() + 1)
}

/// What a new file begins with.
pub(crate) fn preamble() -> String {
    format!(
        "# Settings of harborctl. Each profile is a server with its keys; `{PROFILE_DEFAULT}` is used\n\
         # unless --profile, HARBORCTL_PROFILE or `default_profile` names another.\n\n"
    )
}

#[cfg(test)]
mod tests;
