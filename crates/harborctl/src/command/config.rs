//! `harborctl config`

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use harbor_wire::client::Client;
use serde::Serialize;

use crate::args::global::GlobalArgs;
use crate::args::{duration, text, word};
use crate::context::Context;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::table::{Cell, Column, Tone};
use crate::output::{Format, Output};
use crate::settings::file::{self, ProfileKey};
use crate::settings::{
    ConfigFile, Files, PROFILE_DEFAULT, Secret, SettingsError, Sourced, Sources, find_config_path,
    find_dev_credentials, resolve,
};

const EXAMPLES: &str = "\
Examples:
  harborctl config init --base-url https://hooks.example.com
  harborctl config set api_key - < key.txt
  harborctl config init --profile staging --base-url https://staging.example.com
  harborctl --profile staging config check
  harborctl config view";

/// Commands on the config file.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ConfigCommand {
    /// Write a profile from the flags, the environment, or the dev credentials found here
    Init {
        /// Replace the profile if there is one
        #[arg(long)]
        force: bool,
    },
    /// Show what is in force and where it came from; keys are masked
    View,
    /// Set one value of a profile
    Set(Set),
    /// Ask the server whether it takes the keys
    Check,
}

/// Arguments of `config set`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Set {
    /// What to set
    #[arg(value_enum)]
    key: ProfileKey,
    /// New value, or - to read it from stdin, where other users of this machine do not see it
    #[arg(required_unless_present = "unset", conflicts_with = "unset", allow_hyphen_values = true)]
    value: Option<String>,
    /// Remove the value
    #[arg(long)]
    unset: bool,
}

impl ConfigCommand {
    /// Whether it changes the file, and so works where the file is of no use yet.
    pub(crate) fn is_edit(&self) -> bool {
        match self {
            Self::Init { .. } | Self::Set(_) => true,
            Self::View | Self::Check => false,
        }
    }

    /// Does what was asked, where that changes nothing.
    pub(crate) async fn run(self, cx: &Context, files: &Files) -> Result<(), Failure> {
        match self {
            Self::View => view(cx, files),
            Self::Check => check(cx).await,
            Self::Init { .. } | Self::Set(_) => unreachable!("edits go to `edit`"),
        }
    }
}

/// Changes the file.
pub(crate) fn edit(
    command: ConfigCommand,
    flags: &GlobalArgs,
    environment: &Environment,
    output: &Output,
) -> Result<(), Failure> {
    let path = find_config_path(flags, environment).ok_or(SettingsError::NoConfigPath)?;
    let before = file::read_for_edit(&path)?;
    let config = ConfigFile::parse(&before, &path)?;
    let profile = flags.profile.clone().or_else(|| environment.profile.clone());
    let profile = profile.or_else(|| config.default_profile.clone());
    let profile = profile.unwrap_or_else(|| PROFILE_DEFAULT.to_owned());

    let changes = match command {
        ConfigCommand::Init { force } => {
            if config.profiles.contains_key(&profile) && !force {
                let text =
                    format!("profile `{profile}` is in {} already; --force replaces it", path.display());
                return Err(Failure::Usage(text));
            }
            initial_values(flags, environment)?
        }
        ConfigCommand::Set(set) => vec![set.change()?],
        ConfigCommand::View | ConfigCommand::Check => unreachable!("they change nothing"),
    };

    let borrowed: Vec<_> = changes.iter().map(|(key, value)| (*key, value.as_deref())).collect();
    let text = file::edit(&before, &profile, &borrowed)
        .map_err(|reason| SettingsError::Unreadable { path: path.clone(), reason })?;
    let preamble = if before.is_empty() { file::preamble() } else { String::new() };
    file::write(&path, &format!("{preamble}{text}"))?;

    let written = Written {
        config_file: path.display().to_string(),
        profile,
        values: changes.into_iter().map(|(key, value)| (key.name(), shown(key, value))).collect(),
    };
    output.show(&written, |view| {
        let value = |text: &Option<String>| Cell::new(text.as_deref().unwrap_or("(not set)"));
        let rows = written.values.iter().map(|(name, text)| (*name, value(text)));
        view.details(
            [("file", Cell::new(&written.config_file)), ("profile", Cell::new(&written.profile))]
                .into_iter()
                .chain(rows)
                .collect(),
        )
    })?;
    if written.values.get("api_key") == Some(&None) && written.values.len() > 1 {
        output.hint("add a key: harborctl config set api_key -");
    }
    Ok(())
}

/// What an edit wrote. Keys are masked.
#[derive(Serialize)]
struct Written {
    config_file: String,
    profile: String,
    values: BTreeMap<&'static str, Option<String>>,
}

fn shown(key: ProfileKey, value: Option<String>) -> Option<String> {
    if key.is_secret() { value.map(|text| Secret::from(text).masked()) } else { value }
}

/// The values of a new profile: what would be in force without any file.
fn initial_values(
    flags: &GlobalArgs,
    environment: &Environment,
) -> Result<Vec<(ProfileKey, Option<String>)>, Failure> {
    let settings = resolve(&Sources {
        flags: GlobalArgs { profile: None, ..flags.clone() },
        environment: Environment { profile: None, ..environment.clone() },
        file: ConfigFile::default(),
        dev: find_dev_credentials(environment)?.map(|(_, credentials)| credentials),
    })?;
    let key = |key: Option<Sourced<Secret>>| key.map(|key| key.value.reveal().to_owned());
    check_url(&settings.base_url.value)?;
    Ok(vec![
        (ProfileKey::BaseUrl, Some(settings.base_url.value)),
        (ProfileKey::ApiKey, key(settings.api_key)),
        (ProfileKey::OperatorKey, key(settings.operator_key)),
        (ProfileKey::Tenant, settings.tenant.map(|tenant| tenant.value)),
        // The rest is not about the server; `--force` must not keep what belonged to another one.
        (ProfileKey::Output, None),
        (ProfileKey::Timeout, None),
    ])
}

impl Set {
    fn change(self) -> Result<(ProfileKey, Option<String>), Failure> {
        let Some(value) = self.value.filter(|_| !self.unset) else { return Ok((self.key, None)) };
        let value = text::given_or_stdin(value)?.trim_end_matches(['\r', '\n']).to_owned();
        let refused = |reason: String| Failure::Usage(format!("{}: {reason}", self.key.name()));
        match self.key {
            ProfileKey::BaseUrl => check_url(&value)?,
            ProfileKey::Output => drop(Format::from_str(&value, true).map_err(refused)?),
            ProfileKey::Timeout => drop(duration::parse_positive(&value).map_err(refused)?),
            ProfileKey::ApiKey | ProfileKey::OperatorKey | ProfileKey::Tenant => {
                if value.is_empty() {
                    return Err(refused("is empty; --unset removes it".to_owned()));
                }
            }
        }
        Ok((self.key, Some(value)))
    }
}

fn check_url(url: &str) -> Result<(), Failure> {
    Ok(Client::new(url, None).map(drop)?)
}

/// One value in force.
#[derive(Serialize)]
struct Shown {
    #[serde(skip)]
    name: &'static str,
    value: Option<String>,
    source: Option<String>,
}

impl Shown {
    fn new<T>(name: &'static str, value: Option<&Sourced<T>>, print: impl Fn(&T) -> String) -> Self {
        Self {
            name,
            value: value.map(|value| print(&value.value)),
            source: value.map(|value| value.source.to_string()),
        }
    }
}

/// Everything in force.
#[derive(Serialize)]
struct InForce<'a> {
    config_file: Option<String>,
    dev_credentials: Option<String>,
    settings: BTreeMap<&'a str, &'a Shown>,
}

fn view(cx: &Context, files: &Files) -> Result<(), Failure> {
    const COLUMNS: &[Column<Shown>] = &[
        Column::new("SETTING", |shown, _| Cell::new(shown.name)),
        Column::flexible("VALUE", |shown, _| Cell::maybe(shown.value.as_ref())),
        Column::flexible("FROM", |shown, _| Cell::maybe(shown.source.as_ref())),
    ];
    let settings = &cx.settings;
    let shown = [
        Shown::new("profile", settings.profile.as_ref(), String::clone),
        Shown::new("base_url", Some(&settings.base_url), String::clone),
        Shown::new("api_key", settings.api_key.as_ref(), Secret::masked),
        Shown::new("operator_key", settings.operator_key.as_ref(), Secret::masked),
        Shown::new("tenant", settings.tenant.as_ref(), String::clone),
        Shown::new("output", Some(&settings.output), |format| format.name().to_owned()),
        Shown::new("timeout", Some(&settings.timeout), |timeout| duration::print(*timeout)),
    ];
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let in_force = InForce {
        config_file: path(&files.config),
        dev_credentials: path(&files.dev),
        settings: shown.iter().map(|shown| (shown.name, shown)).collect(),
    };
    cx.output.show(&in_force, |view| {
        let files = view.details(vec![
            ("config file", Cell::maybe(in_force.config_file.as_ref())),
            ("dev credentials", Cell::maybe(in_force.dev_credentials.as_ref())),
        ]);
        format!("{files}\n\n{}", view.table(&shown, COLUMNS))
    })
}

/// What the server said of one key.
#[derive(Serialize)]
struct Checked {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// What the server said.
#[derive(Serialize)]
struct Report {
    base_url: String,
    ok: bool,
    checks: Vec<Checked>,
}

async fn check(cx: &Context) -> Result<(), Failure> {
    const COLUMNS: &[Column<Checked>] = &[
        Column::new("CHECK", |checked, _| Cell::new(checked.name)),
        Column::new("RESULT", |checked, _| {
            if checked.ok { Cell::toned("ok", Tone::Good) } else { Cell::toned("failed", Tone::Bad) }
        }),
        Column::flexible("DETAIL", |checked, _| Cell::new(&checked.detail)),
    ];
    let mut checks = vec![check_server(cx).await?];
    if checks[0].ok {
        checks.push(check_key(cx, "api_key", cx.settings.tenant_key()).await?);
        if cx.settings.operator_key.is_some() {
            checks.push(check_key(cx, "operator_key", cx.settings.operator_key()).await?);
        }
    }
    let base_url = cx.settings.base_url.value.clone();
    let report = Report { base_url, ok: checks.iter().all(|checked| checked.ok), checks };
    cx.output.show(&report, |view| view.table(&report.checks, COLUMNS))?;
    if report.ok {
        return Ok(());
    }
    Err(Failure::Unfulfilled("the configuration does not work".to_owned()))
}

async fn check_server(cx: &Context) -> Result<Checked, Failure> {
    let (ok, detail) = match cx.client(None)?.ping().await {
        Ok(ping) => (true, format!("{} is Harborhook {}", cx.settings.base_url.value, ping.version)),
        Err(error) => (false, error.to_string()),
    };
    Ok(Checked { name: "server", ok, detail })
}

async fn check_key(
    cx: &Context,
    name: &'static str,
    key: Result<&Secret, SettingsError>,
) -> Result<Checked, Failure> {
    let (ok, detail) = match key {
        Err(error) => (false, error.to_string()),
        Ok(key) => match cx.client(Some(key))?.ping().await {
            Ok(ping) => {
                let whose = ping.tenant_id.map_or("the instance".to_owned(), |id| format!("tenant {id}"));
                let role = ping.role.map(|role| format!("{} of {whose}", word::print(&role)));
                (role.is_some(), role.unwrap_or_else(|| "the server does not know it".to_owned()))
            }
            Err(error) => (false, error.to_string()),
        },
    };
    Ok(Checked { name, ok, detail })
}
