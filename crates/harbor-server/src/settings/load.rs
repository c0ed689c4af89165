//! Fills the settings from their sources, the weakest first, and finds every mistake at once.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use harbor_model::invalid::FieldError;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::settings::Settings;
use crate::settings::table::{Key, keys};

/// What every environment variable of ours begins with.
pub(crate) const ENV_PREFIX: &str = "HARBORHOOK_";

/// The variable that names the file; no setting, since it says where settings are.
pub(crate) const ENV_CONFIG: &str = "HARBORHOOK_CONFIG";

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// What `--dev` makes the default, by key.
    pub(crate) dev: Vec<(&'static str, &'static str)>,
    /// The file and what it holds.
    pub(crate) file: Option<(PathBuf, String)>,
    /// Environment variables of ours.
    pub(crate) env: Vec<(String, String)>,
    /// Flags without their dashes.
    pub(crate) flags: Vec<(&'static str, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built in.
    Default,
    /// What `--dev` makes the default.
    Dev,
    /// A line of the file, from 1.
    File { path: PathBuf, line: usize },
    /// An environment variable.
    Env(String),
    /// A flag without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Dev => f.write_str("--dev"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) place: String,
    pub(crate) message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Settings that keep every rule.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// What deserves a look but stops nothing.
    pub(crate) warnings: Vec<Mistake>,
    origins: HashMap<&'static str, Origin>,
}

impl Loaded {
    /// Where the value of a key came from.
    pub(crate) fn origin(&self, key: &Key) -> &Origin {
        self.origins.get(key.name).unwrap_or(&Origin::Default)
    }
}

/// Fills the settings.
///
/// # Errors
/// All mistakes there are, in the order of the sources.
pub(crate) fn load(sources: &Sources) -> Result<Loaded, Vec<Mistake>> {
    let mut loader = Loader::default();
    for (name, text) in &sources.dev {
        loader.set(find_key(name).expect("--dev sets known keys"), text, Origin::Dev);
    }
    if let Some((path, text)) = &sources.file {
        FileReader { loader: &mut loader, path, text }.read();
    }
    loader.read_env(&sources.env);
    for (flag, text) in &sources.flags {
        let key = keys().iter().find(|key| key.flag == Some(*flag)).expect("each flag sets a known key");
        loader.set(key, text, Origin::Flag(flag));
    }
    loader.check_rules();
    let Loader { settings, origins, mistakes, warnings } = loader;
    if mistakes.is_empty() { Ok(Loaded { settings, warnings, origins }) } else { Err(mistakes) }
}

fn find_key(name: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.name == name)
}

#[derive(Default)]
struct Loader {
    settings: Settings,
    origins: HashMap<&'static str, Origin>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Loader {
    fn set(&mut self, key: &'static Key, text: &str, origin: Origin) {
        let place = match &origin {
            Origin::Env(name) => name.clone(),
            other => other.to_string(),
        };
        let read = key.read_text(&mut self.settings, text);
        self.note(key, read, origin, place);
    }

    fn note(&mut self, key: &'static Key, read: Result<(), String>, origin: Origin, place: String) {
        match read {
            Ok(()) => {
                self.origins.insert(key.name, origin);
            }
            Err(message) => self.mistakes.push(Mistake { place, message }),
        }
    }

    fn read_env(&mut self, env: &[(String, String)]) {
        // An empty variable is one that is not set: it is all that many tools can do.
        let given: HashMap<&str, &str> =
            env.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (&**name, &**text)).collect();
        let mut known = vec![ENV_CONFIG.to_owned()];
        for key in keys() {
            let long = key.env();
            let found: Vec<&str> = [key.env_short, Some(long.as_str())]
                .into_iter()
                .flatten()
                .filter(|name| given.contains_key(name))
                .collect();
            match found[..] {
                [] => {}
                [name] => self.set(key, given[name], Origin::Env(name.to_owned())),
                [short, long, ..] => self.mistakes.push(Mistake {
                    place: short.to_owned(),
                    message: format!("sets the same as {long}: give one of them"),
                }),
            }
            known.extend(key.env_short.map(str::to_owned));
            known.push(long);
        }
        // Other programs make such names too: Kubernetes, for a service that is called harborhook.
        let mut unknown: Vec<_> =
            given.keys().filter(|name| !known.iter().any(|known| known == *name)).collect();
        unknown.sort_unstable();
        for name in unknown {
            let message = format!("is no setting{}", did_you_mean(name, known.iter().map(String::as_str)));
            self.warnings.push(Mistake { place: (*name).to_owned(), message });
        }
    }

    /// Holds the whole against the rules that no value can break alone.
    fn check_rules(&mut self) {
        for FieldError { field, message } in self.settings.broken_rules() {
            self.mistakes.push(match self.origins.get(field.as_str()) {
                Some(origin) => Mistake { place: origin.to_string(), message: format!("{field} {message}") },
                None => Mistake { place: field, message },
            });
        }
    }
}

/// Walks through a file.
struct FileReader<'a> {
    loader: &'a mut Loader,
    path: &'a PathBuf,
    text: &'a str,
}

impl FileReader<'_> {
    fn read(&mut self) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.mistake(error.span().map_or(0, |span| span.start), error.message().to_owned());
        }
        self.walk("", table.get_ref());
    }

    fn walk(&mut self, section: &str, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let path = if section.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{section}.{}", name.get_ref())
            };
            self.entry(&path, name.span().start, value);
        }
    }

    fn entry(&mut self, path: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        if let Some(key) = find_key(path) {
            let line = self.line(value.span().start);
            let read = key
                .read_toml(&mut self.loader.settings, value.get_ref())
                .map_err(|message| format!("{path} {message}"));
            let origin = Origin::File { path: self.path.clone(), line };
            let place = origin.to_string();
            self.loader.note(key, read, origin, place);
            return;
        }
        let below = format!("{path}.");
        let is_section = keys().iter().any(|key| key.name.starts_with(&below));
        match (is_section, value.get_ref()) {
            (true, DeValue::Table(table)) => self.walk(path, table),
            (true, _) => self.mistake(at, format!("{path} must be a table")),
            (false, _) => {
                self.mistake(at, format!("{path} is no setting{}", did_you_mean(path, known_names())));
            }
        }
    }

    fn mistake(&mut self, at: usize, message: String) {
        let place = Origin::File { path: self.path.clone(), line: self.line(at) }.to_string();
        self.loader.mistakes.push(Mistake { place, message });
    }

    fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Every key, and every table that holds some.
fn known_names() -> impl Iterator<Item = &'static str> {
    keys().iter().flat_map(|key| {
        let tables = key.name.match_indices('.').map(|(end, _)| &key.name[..end]);
        tables.chain([key.name])
    })
}

/// Names what somebody may have meant, if anything is near enough.
fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &str| {
        let whole = strsim::damerau_levenshtein(wrong, name);
        // The right name in the wrong section.
        let end = strsim::damerau_levenshtein(&last(wrong), &last(name)) + 1;
        if name.contains('.') { whole.min(end) } else { whole }
    };
    let nearest = known.map(|name| (distance(name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 3 => format!("; did you mean {name}?"),
        Some(_) | None => String::new(),
    }
}
