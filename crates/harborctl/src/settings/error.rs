//! Why the configuration cannot be used.

use std::path::PathBuf;

/// Says why the configuration cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// No place for the file is known.
    #[error("no place for the config file: set HOME or name one with --config")]
    NoConfigPath,
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The profile that was asked for is not in the file.
    #[error("there is no profile `{name}`{}", others(.known))]
    NoProfile {
        /// What was asked for.
        name: String,
        /// What there is instead.
        known: Vec<String>,
    },
    /// A value is none of those that can stand there.
    #[error("{place} is `{value}`: {reason}")]
    BadValue {
        /// Where the value stands.
        place: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing says with which key to ask.
    #[error(
        "no API key: give --api-key, set HARBORCTL_API_KEY, run `harborctl config init`, \
         or start `harborhook serve --dev` in this folder{}",
        if *.foreign { "\n  (a stored key is not used: it belongs to another server)" } else { "" }
    )]
    NoKey {
        /// Whether a stored key is not used because it belongs to another server.
        foreign: bool,
    },
}

fn others(names: &[String]) -> String {
    if names.is_empty() {
        return "; make it with `harborctl config init --profile …`".to_owned();
    }
    format!("; there is {}", names.join(", "))
}
