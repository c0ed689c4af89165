//! The one place that reads the environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment says. A variable that is empty counts as not set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `HARBORCTL_BASE_URL`
    pub(crate) base_url: Option<String>,
    /// `HARBORCTL_API_KEY`
    pub(crate) api_key: Option<String>,
    /// `HARBORCTL_TENANT`
    pub(crate) tenant: Option<String>,
    /// `HARBORCTL_PROFILE`
    pub(crate) profile: Option<String>,
    /// `HARBORCTL_CONFIG`
    pub(crate) config: Option<PathBuf>,
    /// `HARBORCTL_OUTPUT`
    pub(crate) output: Option<String>,
    /// `HARBORCTL_TIMEOUT`
    pub(crate) timeout: Option<String>,
    /// `NO_COLOR`
    pub(crate) no_color: bool,
    /// `HARBORHOOK_DATA_DIR`
    pub(crate) data_dir: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`
    pub(crate) config_home: Option<PathBuf>,
    /// `HOME`
    pub(crate) home: Option<PathBuf>,
}

impl Environment {
    /// Reads the environment of this process.
    pub(crate) fn read() -> Self {
        let text = |name| var(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name| var(name).map(PathBuf::from);
        Self {
            base_url: text("HARBORCTL_BASE_URL"),
            api_key: text("HARBORCTL_API_KEY"),
            tenant: text("HARBORCTL_TENANT"),
            profile: text("HARBORCTL_PROFILE"),
            config: path("HARBORCTL_CONFIG"),
            output: text("HARBORCTL_OUTPUT"),
            timeout: text("HARBORCTL_TIMEOUT"),
            no_color: var("NO_COLOR").is_some(),
            data_dir: path("HARBORHOOK_DATA_DIR"),
            config_home: path("XDG_CONFIG_HOME"),
            home: path("HOME"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
